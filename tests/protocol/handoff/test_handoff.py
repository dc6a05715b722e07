"""The handoff by itself: what each event makes of each phase, and what the table promises about all of them."""

from __future__ import annotations

from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.handoff.handoff import RULES, Handoff
from neverblink.protocol.handoff.handoff_events import (
    NO_BOUNDARY,
    Abort,
    Arm,
    Begin,
    CannotRead,
    Cleared,
    Disarm,
    Dismiss,
    Exited,
    Finish,
    Found,
    HandoffCommand,
    HandoffEvent,
    Kill,
    Phase,
    Revert,
    RungOut,
    Seen,
    Send,
    Spawn,
    StandsBy,
    Suspected,
    Withdrawn,
)
from neverblink.protocol.link import CancelYield, Follow, Lead, Retire, YieldTo

P = Phase
EVENTS: list[HandoffEvent] = [
    Begin(),
    Seen("new", "leading", True, epoch=2),
    CannotRead("new", "odd"),
    Cleared("old", 1),
    Exited("new", "killed"),
    Suspected("old", "new", "no tick"),
    Withdrawn("old", 10),
    Abort("cancelled"),
    Revert("rolled back"),
    RungOut("repeat"),
    StandsBy("spare"),
    Found(Seen("old", "following", True, epoch=2), Seen("new", "leading", True, epoch=2)),
]
ENDED = [P.DONE, P.ABORTED, P.ROLLED_BACK]


def handoff(phase: Phase, **fields: object) -> Handoff:
    made = Handoff(1, "old", "new", 10, phase=phase)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("phase", Phase)
def test_the_end_of_a_stranger_changes_nothing(phase: Phase) -> None:
    after = handoff(phase)
    assert (after.step(Exited("spare")), after) == ([], handoff(phase))


def essence(commands: list[HandoffCommand]) -> list[HandoffCommand]:
    """The commands without the alarms that are put out at the end."""
    ends = any(isinstance(command, Finish) for command in commands)
    return [command for command in commands if not (ends and isinstance(command, Disarm))]


def test_every_kind_of_event_is_tried_here() -> None:
    known = {kind for rules in RULES.values() for kind in rules}
    assert {type(event) for event in EVENTS} == known


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("phase", Phase)
def test_an_event_without_a_place_in_the_phase_changes_nothing(phase: Phase, event: HandoffEvent) -> None:
    before = handoff(phase)
    after = copy(before)
    commands = after.step(event)
    if type(event) in RULES[phase]:
        assert after.phase in RULES[phase][type(event)].leads_to
    else:
        assert (commands, after) == ([], before)


QUIET = [
    Disarm(name) for name in ("start", "rehearse", "boundary", "repeat", "probation", "retire", "succeed")
]
YIELD, BACK, CANCEL = (
    Send("old", YieldTo(10, "new", 1)),
    Send("new", YieldTo(11, "old", 1, back=True)),
    Send("old", CancelYield(10)),
)


@pytest.mark.parametrize(
    ("what", "before", "event", "phase", "commands"),
    [
        ("starts the new worker", handoff(P.PREPARING), Begin(), P.PREPARING, [Spawn("new"), Arm("start")]),
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
            [Disarm("start"), Send("new", Follow("old")), Arm("rehearse"), Arm("repeat")],
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
            [Disarm("boundary"), Send("new", Lead()), Arm("repeat"), Arm("succeed")],
        ),
        (
            "tells it again",
            handoff(P.REVERTING, old_lives=False, asked=2, epoch=2),
            RungOut("repeat"),
            P.REVERTING,
            [Send("new", Lead()), Arm("repeat")],
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
            "ends a new one that does not lead in time, for then somebody else has to",
            handoff(P.REVERTING, old_lives=False, asked=2, epoch=2),
            RungOut("succeed"),
            P.REVERTING,
            [Kill("new", "it did not take the lease in time")],
        ),
        (
            "says that nobody leads when the old one dies before the order",
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
            [*QUIET, Dismiss("new"), Send("spare", Lead()), Arm("repeat"), Arm("succeed")],
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
            "says that nobody leads when the standby dies too",
            handoff(P.SUCCEEDING, standby="spare", reason="killed", old_lives=False),
            Exited("spare", "killed"),
            P.ABORTED,
            [Finish(P.ABORTED, "killed", "")],
        ),
        (
            "ends a standby that does not take the lease",
            handoff(P.SUCCEEDING, standby="spare"),
            RungOut("succeed"),
            P.SUCCEEDING,
            [Kill("spare", "it did not take the lease in time"), Disarm("repeat")],
        ),
        (
            "leaves it to the standby first when the old one dies in the transfer",
            handoff(P.TRANSFERRING, standby="spare"),
            Exited("old", "killed"),
            P.TRANSFERRING,
            [Disarm("boundary"), Arm("repeat")],
        ),
        (
            "orders to yield when the new one has the state",
            handoff(P.REHEARSING),
            Seen("new", "following", loaded=True),
            P.WAITING,
            [Disarm("rehearse"), YIELD, Arm("boundary"), Arm("repeat")],
        ),
        (
            "ends a rehearsal where the order would be given",
            handoff(P.REHEARSING, rehearse_only=True),
            Seen("new", "following", loaded=True),
            P.DONE,
            [Dismiss("new"), Finish(P.DONE, "rehearsed", "old")],
        ),
        ("repeats the order", handoff(P.WAITING), RungOut("repeat"), P.WAITING, [YIELD, Arm("repeat")]),
        (
            "takes the order back when no boundary comes",
            handoff(P.WAITING),
            RungOut("boundary"),
            P.CANCELLING,
            [Disarm("boundary"), CANCEL, Arm("repeat")],
        ),
        (
            "takes the order back when told",
            handoff(P.WAITING),
            Abort("cancelled"),
            P.CANCELLING,
            [Disarm("boundary"), CANCEL, Arm("repeat")],
        ),
        (
            "takes the order back when the new one dies",
            handoff(P.WAITING),
            Exited("new"),
            P.CANCELLING,
            [Disarm("boundary"), CANCEL, Arm("repeat")],
        ),
        (
            "goes forward when the old one dies",
            handoff(P.WAITING),
            Exited("old"),
            P.TRANSFERRING,
            [Disarm("boundary"), Send("new", Lead()), Arm("repeat"), Arm("succeed")],
        ),
        (
            "ends when the old one confirms",
            handoff(P.CANCELLING, reason=NO_BOUNDARY),
            Withdrawn("old", 10),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, NO_BOUNDARY, "old")],
        ),
        ("believes no other confirmation", handoff(P.CANCELLING), Withdrawn("old", 9), P.CANCELLING, []),
        (
            "sees that a cancellation came too late",
            handoff(P.CANCELLING),
            Seen("old", "yielding"),
            P.TRANSFERRING,
            [Disarm("boundary"), Arm("repeat")],
        ),
        (
            "undoes what the operator took back too late",
            handoff(P.CANCELLING, revoked=True, reason="cancelled"),
            Seen("new", "leading", True, epoch=2),
            P.REVERTING,
            [
                Disarm("boundary"),
                Disarm("repeat"),
                Disarm("probation"),
                BACK,
                Arm("boundary"),
                Arm("repeat"),
            ],
        ),
        (
            "lets a probation begin when the new one leads",
            handoff(P.TRANSFERRING),
            Seen("new", "leading", True, epoch=2),
            P.PROBATION,
            [Disarm("boundary"), Disarm("repeat"), Arm("probation")],
        ),
        (
            "ends when the old one took the lease back",
            handoff(P.TRANSFERRING),
            Seen("old", "leading", True, epoch=2),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "the new worker did not take over", "old")],
        ),
        (
            "lets whoever is left lead when nobody does",
            handoff(P.TRANSFERRING),
            RungOut("repeat"),
            P.TRANSFERRING,
            [Send("new", Lead()), Arm("repeat")],
        ),
        (
            "lets the old one lead when the new one is dead",
            handoff(P.TRANSFERRING, new_lives=False),
            RungOut("repeat"),
            P.TRANSFERRING,
            [Send("old", Lead()), Arm("repeat")],
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
            [Disarm("probation"), Send("old", Lead()), Arm("repeat"), Arm("succeed")],
        ),
        (
            "orders the new one to yield back",
            handoff(P.PROBATION),
            Revert("rolled back"),
            P.REVERTING,
            [Disarm("probation"), BACK, Arm("boundary"), Arm("repeat")],
        ),
        (
            "goes on when no way back was found in time",
            handoff(P.REVERTING),
            RungOut("boundary"),
            P.PROBATION,
            [Disarm("repeat"), Send("new", CancelYield(11)), Arm("probation")],
        ),
        (
            "retires the old one when the time is up",
            handoff(P.PROBATION),
            RungOut("probation"),
            P.RETIRING,
            [Send("old", Retire()), Arm("retire"), Arm("repeat")],
        ),
        (
            "ends one that does not retire",
            handoff(P.RETIRING),
            RungOut("retire"),
            P.RETIRING,
            [Kill("old", "it did not retire in time")],
        ),
        ("is done when it has", handoff(P.RETIRING), Exited("old"), P.DONE, [Finish(P.DONE, "", "new")]),
        (
            "says that nobody leads when both are dead",
            handoff(P.TRANSFERRING, new_lives=False),
            Exited("old"),
            P.ABORTED,
            [Finish(P.ABORTED, "both workers ended", "")],
        ),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_a_handoff(
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
        RungOut, st.sampled_from(["start", "rehearse", "boundary", "repeat", "probation", "retire", "?"])
    ),
)


@given(st.booleans(), st.lists(events, max_size=60))
def test_whatever_comes_the_table_is_honest_and_the_end_is_told_once(
    rehearse_only: bool, coming: list[HandoffEvent]
) -> None:
    deployment = Handoff(1, "old", "new", 10, rehearse_only=rehearse_only)
    # A new worker that is found leading, if never by our order, is the bot: who is told what then is another matter.
    led = any(isinstance(event, Found) and event.new and event.new.role == "leading" for event in coming)
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
            assert not any(isinstance(command, Send) and command.worker == "old" for command in commands)
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
            Found(OLD_LEADS, Seen("new", "joining", ready=False)),
            P.PREPARING,
            [Arm("start")],
        ),
        (
            "gives the order again, which may have been lost",
            handoff(P.WAITING),
            Found(OLD_LEADS, NEW_FOLLOWS),
            P.WAITING,
            [YIELD, Arm("boundary"), Arm("repeat")],
        ),
        (
            "takes the order back again",
            handoff(P.CANCELLING, reason="cancelled"),
            Found(OLD_LEADS, NEW_FOLLOWS),
            P.CANCELLING,
            [CANCEL, Arm("repeat")],
        ),
        (
            "sees that a transfer failed",
            handoff(P.WAITING),
            Found(OLD_LEADS, NEW_FOLLOWS, settled=10),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "the new worker did not take over", "old")],
        ),
        (
            "sees by the epoch that the new one led in between",
            handoff(P.WAITING, granted=1),
            Found(Seen("old", "leading", True, epoch=3), None, settled=10),
            P.ROLLED_BACK,
            [
                Dismiss("new"),
                Finish(P.ROLLED_BACK, "the new worker ended while no supervisor looked", "old"),
            ],
        ),
        (
            "begins the probation that nobody saw begin",
            handoff(P.WAITING),
            Found(OLD_FOLLOWS, NEW_LEADS, settled=10),
            P.PROBATION,
            [Disarm("boundary"), Disarm("repeat"), Arm("probation")],
        ),
        (
            "believes the higher epoch when both say that they lead",
            handoff(P.WAITING),
            Found(OLD_LEADS, NEW_LEADS),
            P.PROBATION,
            [Disarm("boundary"), Disarm("repeat"), Arm("probation")],
        ),
        (
            "goes on with the way back",
            handoff(P.REVERTING, reason="rolled back", asked=2),
            Found(OLD_FOLLOWS, NEW_LEADS),
            P.REVERTING,
            [Disarm("probation"), BACK, Arm("boundary"), Arm("repeat")],
        ),
        (
            "goes on with the farewell",
            handoff(P.RETIRING),
            Found(OLD_FOLLOWS, NEW_LEADS),
            P.RETIRING,
            [Send("old", Retire()), Arm("retire"), Arm("repeat")],
        ),
        (
            "sees that the old one has left",
            handoff(P.RETIRING),
            Found(None, NEW_LEADS),
            P.DONE,
            [Finish(P.DONE, "", "new")],
        ),
        (
            "follows a transfer that is on its way",
            handoff(P.WAITING),
            Found(Seen("old", "yielding", True, epoch=1), NEW_FOLLOWS),
            P.TRANSFERRING,
            [Arm("repeat")],
        ),
        (
            "asks the old one to lead when the new one died in its probation",
            handoff(P.PROBATION),
            Found(OLD_FOLLOWS, None),
            P.REVERTING,
            [Send("old", Lead()), Arm("repeat"), Arm("succeed")],
        ),
        (
            "asks the new one to lead when the old one died with the order",
            handoff(P.WAITING),
            Found(None, NEW_FOLLOWS),
            P.TRANSFERRING,
            [Send("new", Lead()), Arm("repeat"), Arm("succeed")],
        ),
        (
            "lets unproven code go when the old one died before the order",
            handoff(P.REHEARSING),
            Found(None, NEW_FOLLOWS),
            P.ABORTED,
            [Dismiss("new"), Finish(P.ABORTED, "the old worker ended while no supervisor looked", "")],
        ),
        (
            "ends when nobody is left",
            handoff(P.PROBATION),
            Found(None, None),
            P.ROLLED_BACK,
            [Finish(P.ROLLED_BACK, "both workers ended while no supervisor looked", "")],
        ),
        (
            "is rolled back when the new one took the lease, and nothing that was kept says so",
            handoff(P.TRANSFERRING),
            Found(None, None, last="new"),
            P.ROLLED_BACK,
            [Finish(P.ROLLED_BACK, "both workers ended while no supervisor looked", "")],
        ),
        (
            "is aborted when the old one took the lease last",
            handoff(P.TRANSFERRING),
            Found(None, None, last="old"),
            P.ABORTED,
            [Finish(P.ABORTED, "both workers ended while no supervisor looked", "")],
        ),
        (
            "goes back to the old one when the new one took the lease and died before that was kept",
            handoff(P.WAITING),
            Found(Seen("old", "yielding", True, epoch=1), None, last="new"),
            P.REVERTING,
            [Send("old", Lead()), Arm("repeat"), Arm("succeed")],
        ),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_a_handoff_makes_of_being_found_again(
    what: str, before: Handoff, event: Found, phase: Phase, commands: list[HandoffCommand]
) -> None:
    after = copy(before)
    assert essence(after.step(event)) == commands, what
    assert after.phase is phase


def test_found_in_the_rehearsal_it_takes_back_an_order_that_may_be_out() -> None:
    after = handoff(P.REHEARSING)
    after.step(Found(OLD_LEADS, Seen("new", "following", False, epoch=1)))
    assert after.phase is P.REHEARSING
    assert CANCEL in after.step(RungOut("rehearse"))
    assert after.phase is P.CANCELLING
    after = handoff(P.REHEARSING)
    after.step(Found(OLD_LEADS, Seen("new", "following", False, epoch=1)))
    after.step(NEW_LEADS)
    assert after.phase is P.PROBATION
