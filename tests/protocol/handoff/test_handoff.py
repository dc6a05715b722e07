"""The handoff by itself: what each event makes of each phase, and what the table promises about all of them."""

from __future__ import annotations

from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.handoff.handoff import RULES, Handoff
from neverblink.protocol.handoff.handoff_events import (
    NO_BOUNDARY,
    AbortRequested,
    ArmTimer,
    CannotRead,
    Cleared,
    DeployRequested,
    DisarmTimer,
    Dismiss,
    Exited,
    Finish,
    HandoffCommand,
    HandoffEvent,
    HandoffResumed,
    Kill,
    Phase,
    RollbackRequested,
    Seen,
    SendTo,
    Spawn,
    StandsBy,
    Suspected,
    TimerFired,
    Withdrawn,
)
from neverblink.protocol.link import CancelYield, Follow, Lead, Retire, YieldTo

P = Phase
EVENTS: list[HandoffEvent] = [
    DeployRequested(),
    Seen("new", "leading", True, epoch=2),
    CannotRead("new", "odd"),
    Cleared("old", 1),
    Exited("new", "killed"),
    Suspected("old", "new", "no tick"),
    Withdrawn("old", 10),
    AbortRequested("cancelled"),
    RollbackRequested("rolled back"),
    TimerFired("repeat"),
    StandsBy("spare"),
    HandoffResumed(Seen("old", "following", True, epoch=2), Seen("new", "leading", True, epoch=2)),
]
ENDED = [P.DONE, P.ABORTED, P.ROLLED_BACK]


def handoff(phase: Phase, **fields: object) -> Handoff:
    made = Handoff(1, "old", "new", 10, phase=phase)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("phase", Phase)
def test_the_end_of_an_unrelated_worker_changes_nothing(phase: Phase) -> None:
    after = handoff(phase)
    assert (after.step(Exited("spare")), after) == ([], handoff(phase))


def essence(commands: list[HandoffCommand]) -> list[HandoffCommand]:
    """The commands without the alarms that are put out at the end."""
    ends = any(isinstance(command, Finish) for command in commands)
    return [command for command in commands if not (ends and isinstance(command, DisarmTimer))]


def test_every_kind_of_event_is_covered() -> None:
    known = {kind for rules in RULES.values() for kind in rules}
    assert {type(event) for event in EVENTS} == known


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("phase", Phase)
def test_an_event_without_a_rule_in_the_phase_changes_nothing(phase: Phase, event: HandoffEvent) -> None:
    before = handoff(phase)
    after = copy(before)
    commands = after.step(event)
    if type(event) in RULES[phase]:
        assert after.phase in RULES[phase][type(event)].leads_to
    else:
        assert (commands, after) == ([], before)


QUIET = [
    DisarmTimer(name)
    for name in ("start", "rehearse", "boundary", "repeat", "probation", "retire", "succeed")
]
YIELD, BACK, CANCEL = (
    SendTo("old", YieldTo(10, "new", 1)),
    SendTo("new", YieldTo(11, "old", 1, back=True)),
    SendTo("old", CancelYield(10)),
)


@pytest.mark.parametrize(
    ("what", "before", "event", "phase", "commands"),
    [
        (
            "starts the new worker",
            handoff(P.PREPARING),
            DeployRequested(),
            P.PREPARING,
            [Spawn("new"), ArmTimer("start")],
        ),
        (
            "waits until it is ready",
            handoff(P.PREPARING),
            Seen("new", "joining", ready=False),
            P.PREPARING,
            [],
        ),
        (
            "lets a ready one follow",
            handoff(P.PREPARING),
            Seen("new", "joining"),
            P.REHEARSING,
            [DisarmTimer("start"), SendTo("new", Follow("old")), ArmTimer("rehearse"), ArmTimer("repeat")],
        ),
        (
            "gives up one that dies at once",
            handoff(P.PREPARING),
            Exited("new", "exit 1"),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "exit 1", "old")],
        ),
        (
            "tells the new one to lead when the old one dies while it was to lead again",
            handoff(P.REVERTING, asked=2, epoch=2),
            Exited("old", "killed"),
            P.REVERTING,
            [DisarmTimer("boundary"), SendTo("new", Lead()), ArmTimer("repeat"), ArmTimer("succeed")],
        ),
        (
            "tells it again",
            handoff(P.REVERTING, old_lives=False, asked=2, epoch=2),
            TimerFired("repeat"),
            P.REVERTING,
            [SendTo("new", Lead()), ArmTimer("repeat")],
        ),
        (
            "does not believe a report from before it yielded",
            handoff(P.REVERTING, old_lives=False, asked=2, epoch=2),
            Seen("new", "leading", epoch=2),
            P.REVERTING,
            [],
        ),
        (
            "stands when the new one leads anew",
            handoff(P.REVERTING, old_lives=False, asked=2, epoch=2, reason="the old one died"),
            Seen("new", "leading", epoch=4),
            P.DONE,
            [Finish(P.DONE, "the old one died", "new")],
        ),
        (
            "stands when the new one leads on, and never yielded",
            handoff(P.REVERTING, old_lives=False, asked=-1, epoch=2, reason="the old one died"),
            Seen("new", "leading", epoch=2),
            P.DONE,
            [Finish(P.DONE, "the old one died", "new")],
        ),
        (
            "ends a new one that does not lead in time, for then another worker has to",
            handoff(P.REVERTING, old_lives=False, asked=2, epoch=2),
            TimerFired("succeed"),
            P.REVERTING,
            [Kill("new", "it did not take the lease in time")],
        ),
        (
            "reports that no worker leads when the old one dies before the order",
            handoff(P.REHEARSING),
            Exited("old", "killed"),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "killed", "")],
        ),
        (
            "waits for the standby when the old one dies before the order",
            handoff(P.REHEARSING, standby="spare"),
            Exited("old", "killed"),
            P.SUCCEEDING,
            [*QUIET, Dismiss("new"), SendTo("spare", Lead()), ArmTimer("repeat"), ArmTimer("succeed")],
        ),
        (
            "is over when the standby leads",
            handoff(P.SUCCEEDING, standby="spare", reason="killed", epoch=1),
            Seen("spare", "leading", epoch=2),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "killed", "spare")],
        ),
        (
            "is rolled back when the standby leads after the new one did",
            handoff(P.PROBATION, standby="spare", committed=True, epoch=2),
            Seen("spare", "leading", epoch=3),
            P.ROLLED_BACK,
            [Dismiss("new"), Finish(P.ROLLED_BACK, "the leader died, and spare went on", "spare")],
        ),
        (
            "does not believe what the standby said before the new one led",
            handoff(P.PROBATION, standby="spare", committed=True, epoch=2),
            Seen("spare", "leading", epoch=1),
            P.PROBATION,
            [],
        ),
        (
            "reports that no worker leads when the standby dies too",
            handoff(P.SUCCEEDING, standby="spare", reason="killed", old_lives=False),
            Exited("spare", "killed"),
            P.ABORTED,
            [Finish(P.ABORTED, "killed", "")],
        ),
        (
            "ends a standby that does not take the lease",
            handoff(P.SUCCEEDING, standby="spare"),
            TimerFired("succeed"),
            P.SUCCEEDING,
            [Kill("spare", "it did not take the lease in time"), DisarmTimer("repeat")],
        ),
        (
            "leaves it to the standby first when the old one dies in the transfer",
            handoff(P.TRANSFERRING, standby="spare"),
            Exited("old", "killed"),
            P.TRANSFERRING,
            [DisarmTimer("boundary"), ArmTimer("repeat")],
        ),
        (
            "orders to yield when the new one has the state",
            handoff(P.REHEARSING),
            Seen("new", "following", loaded=True),
            P.WAITING,
            [DisarmTimer("rehearse"), YIELD, ArmTimer("boundary"), ArmTimer("repeat")],
        ),
        (
            "ends a rehearsal where the order would be given",
            handoff(P.REHEARSING, rehearse_only=True),
            Seen("new", "following", loaded=True),
            P.DONE,
            [Dismiss("new"), Finish(P.DONE, "rehearsed", "old")],
        ),
        (
            "repeats the order",
            handoff(P.WAITING),
            TimerFired("repeat"),
            P.WAITING,
            [YIELD, ArmTimer("repeat")],
        ),
        (
            "takes the order back when no boundary comes",
            handoff(P.WAITING),
            TimerFired("boundary"),
            P.CANCELLING,
            [DisarmTimer("boundary"), CANCEL, ArmTimer("repeat")],
        ),
        (
            "takes the order back when told",
            handoff(P.WAITING),
            AbortRequested("cancelled"),
            P.CANCELLING,
            [DisarmTimer("boundary"), CANCEL, ArmTimer("repeat")],
        ),
        (
            "takes the order back when the new one dies",
            handoff(P.WAITING),
            Exited("new"),
            P.CANCELLING,
            [DisarmTimer("boundary"), CANCEL, ArmTimer("repeat")],
        ),
        (
            "goes forward when the old one dies",
            handoff(P.WAITING),
            Exited("old"),
            P.TRANSFERRING,
            [DisarmTimer("boundary"), SendTo("new", Lead()), ArmTimer("repeat"), ArmTimer("succeed")],
        ),
        (
            "ends when the old one confirms",
            handoff(P.CANCELLING, reason=NO_BOUNDARY),
            Withdrawn("old", 10),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, NO_BOUNDARY, "old")],
        ),
        (
            "ends when the old worker cannot yield",
            handoff(P.WAITING),
            Withdrawn("old", 10),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, NO_BOUNDARY, "old")],
        ),
        ("believes no other refusal", handoff(P.WAITING), Withdrawn("old", 9), P.WAITING, []),
        (
            "kills a new worker that cannot yield back",
            handoff(P.REVERTING),
            Withdrawn("new", 11),
            P.REVERTING,
            [Kill("new", "it could not yield for the rollback")],
        ),
        ("kills none for another order", handoff(P.REVERTING), Withdrawn("new", 10), P.REVERTING, []),
        ("believes no other confirmation", handoff(P.CANCELLING), Withdrawn("old", 9), P.CANCELLING, []),
        (
            "sees that a cancellation came too late",
            handoff(P.CANCELLING),
            Seen("old", "yielding"),
            P.TRANSFERRING,
            [DisarmTimer("boundary"), ArmTimer("repeat")],
        ),
        (
            "undoes what the operator took back too late",
            handoff(P.CANCELLING, revoked=True, reason="cancelled"),
            Seen("new", "leading", True, epoch=2),
            P.REVERTING,
            [
                DisarmTimer("boundary"),
                DisarmTimer("repeat"),
                DisarmTimer("probation"),
                BACK,
                ArmTimer("boundary"),
                ArmTimer("repeat"),
            ],
        ),
        (
            "lets a probation begin when the new one leads",
            handoff(P.TRANSFERRING),
            Seen("new", "leading", True, epoch=2),
            P.PROBATION,
            [DisarmTimer("boundary"), DisarmTimer("repeat"), ArmTimer("probation")],
        ),
        (
            "ends when the old one took the lease back",
            handoff(P.TRANSFERRING),
            Seen("old", "leading", True, epoch=2),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "the new worker did not take over", "old")],
        ),
        (
            "lets the workers that are left lead when none does",
            handoff(P.TRANSFERRING),
            TimerFired("repeat"),
            P.TRANSFERRING,
            [SendTo("new", Lead()), ArmTimer("repeat")],
        ),
        (
            "lets the old one lead when the new one is dead",
            handoff(P.TRANSFERRING, new_lives=False),
            TimerFired("repeat"),
            P.TRANSFERRING,
            [SendTo("old", Lead()), ArmTimer("repeat")],
        ),
        (
            "judges one that hung before its report came",
            handoff(P.TRANSFERRING),
            Suspected("old", "new", "no tick"),
            P.TRANSFERRING,
            [Kill("new", "no tick")],
        ),
        (
            "is done when the old one died in the transfer",
            handoff(P.TRANSFERRING, old_lives=False),
            Seen("new", "leading", True, epoch=2),
            P.DONE,
            [
                Finish(P.DONE, "the old worker ended during the transfer", "new"),
            ],
        ),
        (
            "kills a suspect",
            handoff(P.PROBATION),
            Suspected("old", "new", "no tick"),
            P.PROBATION,
            [Kill("new", "no tick")],
        ),
        (
            "cuts no decision for being slow",
            handoff(P.PROBATION),
            Suspected("old", "new", "no tick", "enter"),
            P.PROBATION,
            [],
        ),
        (
            "ignores a report from before the new one led",
            handoff(P.PROBATION, epoch=2),
            Seen("old", "leading", True, epoch=1),
            P.PROBATION,
            [],
        ),
        (
            "sees that the old one leads again",
            handoff(P.PROBATION, epoch=2),
            Seen("old", "leading", True, epoch=3),
            P.ROLLED_BACK,
            [Dismiss("new"), Finish(P.ROLLED_BACK, "the old worker took the lease back", "old")],
        ),
        (
            "lets the old one lead when the new one dies",
            handoff(P.PROBATION),
            Exited("new"),
            P.REVERTING,
            [DisarmTimer("probation"), SendTo("old", Lead()), ArmTimer("repeat"), ArmTimer("succeed")],
        ),
        (
            "orders the new one to yield back",
            handoff(P.PROBATION),
            RollbackRequested("rolled back"),
            P.REVERTING,
            [DisarmTimer("probation"), BACK, ArmTimer("boundary"), ArmTimer("repeat")],
        ),
        (
            "goes on when no way back was found in time",
            handoff(P.REVERTING),
            TimerFired("boundary"),
            P.PROBATION,
            [DisarmTimer("repeat"), SendTo("new", CancelYield(11)), ArmTimer("probation")],
        ),
        (
            "retires the old one when the time is up",
            handoff(P.PROBATION),
            TimerFired("probation"),
            P.RETIRING,
            [SendTo("old", Retire()), ArmTimer("retire"), ArmTimer("repeat")],
        ),
        (
            "ends one that does not retire",
            handoff(P.RETIRING),
            TimerFired("retire"),
            P.RETIRING,
            [Kill("old", "it did not retire in time")],
        ),
        ("is done when it has", handoff(P.RETIRING), Exited("old"), P.DONE, [Finish(P.DONE, "", "new")]),
        (
            "reports that no worker leads when both are dead",
            handoff(P.TRANSFERRING, new_lives=False),
            Exited("old"),
            P.ABORTED,
            [Finish(P.ABORTED, "both workers ended", "")],
        ),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_a_handoff_moves_between_its_phases_by_the_rules(
    what: str, before: Handoff, event: HandoffEvent, phase: Phase, commands: list[HandoffCommand]
) -> None:
    after = copy(before)
    done = after.step(event)
    assert (essence(done), after.phase) == (commands, phase)


workers = st.sampled_from(["old", "new"])
events = st.one_of(
    st.sampled_from(EVENTS),
    st.builds(
        Seen,
        workers,
        st.sampled_from(["joining", "following", "leading", "yielding", "retired"]),
        st.booleans(),
        st.booleans(),
        st.integers(0, 5),
    ),
    st.builds(CannotRead, workers, st.just("odd")),
    st.builds(Exited, workers),
    st.builds(Suspected, workers, workers, st.just("no tick"), st.sampled_from(["", "enter"])),
    st.builds(Withdrawn, workers, st.integers(9, 13)),
    st.builds(
        TimerFired, st.sampled_from(["start", "rehearse", "boundary", "repeat", "probation", "retire", "?"])
    ),
)


@given(st.booleans(), st.lists(events, max_size=60))
def test_any_events_lead_only_to_phases_of_the_table_and_the_end_is_reported_once(
    rehearse_only: bool, coming: list[HandoffEvent]
) -> None:
    deployment = Handoff(1, "old", "new", 10, rehearse_only=rehearse_only)
    # A new worker that is found leading, if never by our order, is the bot: who is told what then is another matter.
    led = any(
        isinstance(event, HandoffResumed) and event.new and event.new.role == "leading" for event in coming
    )
    finished: list[Finish] = []
    for event in coming:
        before = copy(deployment)
        commands = deployment.step(event)
        rule = RULES[before.phase].get(type(event))
        assert deployment.phase in (rule.leads_to if rule is not None else (before.phase,))
        assert deployment.order >= before.order
        assert deployment.epoch >= before.epoch
        finished += [command for command in commands if isinstance(command, Finish)]
        if rehearse_only and not led:
            assert not any(isinstance(command, SendTo) and command.worker == "old" for command in commands)
    assert len(finished) == (deployment.phase in ENDED)
    for end in finished:
        assert end.phase is deployment.phase


OLD_LEADS, NEW_LEADS = Seen("old", "leading", True, epoch=1), Seen("new", "leading", True, epoch=2)
OLD_FOLLOWS, NEW_FOLLOWS = Seen("old", "following", True, epoch=2), Seen("new", "following", True, epoch=1)


@pytest.mark.parametrize(
    ("what", "before", "event", "phase", "commands"),
    [
        (
            "waits on for one that starts",
            handoff(P.PREPARING),
            HandoffResumed(OLD_LEADS, Seen("new", "joining", ready=False)),
            P.PREPARING,
            [ArmTimer("start")],
        ),
        (
            "gives the order again, which may have been lost",
            handoff(P.WAITING),
            HandoffResumed(OLD_LEADS, NEW_FOLLOWS),
            P.WAITING,
            [YIELD, ArmTimer("boundary"), ArmTimer("repeat")],
        ),
        (
            "takes the order back again",
            handoff(P.CANCELLING, reason="cancelled"),
            HandoffResumed(OLD_LEADS, NEW_FOLLOWS),
            P.CANCELLING,
            [CANCEL, ArmTimer("repeat")],
        ),
        (
            "sees that a transfer failed",
            handoff(P.WAITING),
            HandoffResumed(OLD_LEADS, NEW_FOLLOWS, settled=10),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "the new worker did not take over", "old")],
        ),
        (
            "sees by the epoch that the new one led in between",
            handoff(P.WAITING, granted=1),
            HandoffResumed(Seen("old", "leading", True, epoch=3), None, settled=10),
            P.ROLLED_BACK,
            [
                Dismiss("new"),
                Finish(P.ROLLED_BACK, "the new worker ended while no supervisor ran", "old"),
            ],
        ),
        (
            "begins the probation whose beginning was not reported",
            handoff(P.WAITING),
            HandoffResumed(OLD_FOLLOWS, NEW_LEADS, settled=10),
            P.PROBATION,
            [DisarmTimer("boundary"), DisarmTimer("repeat"), ArmTimer("probation")],
        ),
        (
            "believes the higher epoch when both say that they lead",
            handoff(P.WAITING),
            HandoffResumed(OLD_LEADS, NEW_LEADS),
            P.PROBATION,
            [DisarmTimer("boundary"), DisarmTimer("repeat"), ArmTimer("probation")],
        ),
        (
            "goes on with the way back",
            handoff(P.REVERTING, reason="rolled back", asked=2),
            HandoffResumed(OLD_FOLLOWS, NEW_LEADS),
            P.REVERTING,
            [DisarmTimer("probation"), BACK, ArmTimer("boundary"), ArmTimer("repeat")],
        ),
        (
            "goes on with the farewell",
            handoff(P.RETIRING),
            HandoffResumed(OLD_FOLLOWS, NEW_LEADS),
            P.RETIRING,
            [SendTo("old", Retire()), ArmTimer("retire"), ArmTimer("repeat")],
        ),
        (
            "sees that the old one has left",
            handoff(P.RETIRING),
            HandoffResumed(None, NEW_LEADS),
            P.DONE,
            [Finish(P.DONE, "", "new")],
        ),
        (
            "follows a transfer that is on its way",
            handoff(P.WAITING),
            HandoffResumed(Seen("old", "yielding", True, epoch=1), NEW_FOLLOWS),
            P.TRANSFERRING,
            [ArmTimer("repeat")],
        ),
        (
            "asks the old one to lead when the new one died in its probation",
            handoff(P.PROBATION),
            HandoffResumed(OLD_FOLLOWS, None),
            P.REVERTING,
            [SendTo("old", Lead()), ArmTimer("repeat"), ArmTimer("succeed")],
        ),
        (
            "asks the new one to lead when the old one died with the order",
            handoff(P.WAITING),
            HandoffResumed(None, NEW_FOLLOWS),
            P.TRANSFERRING,
            [SendTo("new", Lead()), ArmTimer("repeat"), ArmTimer("succeed")],
        ),
        (
            "lets unproven code go when the old one died before the order",
            handoff(P.REHEARSING),
            HandoffResumed(None, NEW_FOLLOWS),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "the old worker ended while no supervisor ran", "")],
        ),
        (
            "ends when no worker is left",
            handoff(P.PROBATION),
            HandoffResumed(None, None),
            P.ROLLED_BACK,
            [Finish(P.ROLLED_BACK, "both workers ended while no supervisor ran", "")],
        ),
        (
            "is rolled back when the new one took the lease, and nothing that was kept says so",
            handoff(P.TRANSFERRING),
            HandoffResumed(None, None, last="new"),
            P.ROLLED_BACK,
            [Finish(P.ROLLED_BACK, "both workers ended while no supervisor ran", "")],
        ),
        (
            "is aborted when the old one took the lease last",
            handoff(P.TRANSFERRING),
            HandoffResumed(None, None, last="old"),
            P.ABORTED,
            [Finish(P.ABORTED, "both workers ended while no supervisor ran", "")],
        ),
        (
            "goes back to the old one when the new one took the lease and died before that was kept",
            handoff(P.WAITING),
            HandoffResumed(Seen("old", "yielding", True, epoch=1), None, last="new"),
            P.REVERTING,
            [SendTo("old", Lead()), ArmTimer("repeat"), ArmTimer("succeed")],
        ),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_resumed_handoff_goes_to_the_phase_of_its_workers(
    what: str, before: Handoff, event: HandoffResumed, phase: Phase, commands: list[HandoffCommand]
) -> None:
    after = copy(before)
    assert essence(after.step(event)) == commands, what
    assert after.phase is phase


def test_a_handoff_resumed_in_its_rehearsal_cancels_an_order_that_may_be_out() -> None:
    after = handoff(P.REHEARSING)
    after.step(HandoffResumed(OLD_LEADS, Seen("new", "following", False, epoch=1)))
    assert after.phase is P.REHEARSING
    assert CANCEL in after.step(TimerFired("rehearse"))
    assert after.phase is P.CANCELLING
    after = handoff(P.REHEARSING)
    after.step(HandoffResumed(OLD_LEADS, Seen("new", "following", False, epoch=1)))
    after.step(NEW_LEADS)
    assert after.phase is P.PROBATION
