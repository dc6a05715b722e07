"""A deployment behind one that is in its probation, workers that do not take over, and what is found beside the two."""

from __future__ import annotations

import pytest

from neverblink.protocol.handoff.handoff import Handoff
from neverblink.protocol.handoff.handoff_events import (
    AbortRequested,
    ArmTimer,
    CannotRead,
    Cleared,
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
    StandsBy,
    TimerFired,
)
from neverblink.protocol.link import Follow, Lead, YieldTo

P = Phase
LOADED = Seen("new", "following", True)


def behind(*events: HandoffEvent, phase: Phase = P.PREPARING) -> Handoff:
    """A handoff from `old`, which leads under epoch 2, behind deployment 6; `events` have come."""
    made = Handoff(7, "old", "new", 7000, phase=phase, granted=2, after=6)
    for event in events:
        made.step(event)
    return made


def prepared() -> Handoff:
    made = behind(Seen("new", "joining"), LOADED)
    assert made.phase is P.PREPARED
    return made


def essence(commands: list[HandoffCommand]) -> list[HandoffCommand]:
    return [command for command in commands if not isinstance(command, DisarmTimer)]


def test_a_deployment_behind_another_orders_nothing_until_that_has_ended() -> None:
    made = behind(Seen("new", "joining"))
    assert made.phase is P.REHEARSING
    assert made.step(LOADED) == [DisarmTimer("rehearse"), DisarmTimer("repeat")]
    assert made.phase is P.PREPARED
    assert made.step(LOADED) == []
    assert made.step(Cleared("old", 2)) == [
        SendTo("old", YieldTo(7000, "new", 7)), ArmTimer("boundary"), ArmTimer("repeat"),
    ]  # fmt: skip
    assert (made.phase, made.after) == (P.WAITING, 0)


@pytest.mark.parametrize("seen", [LOADED, Seen("new", "following", False)])
def test_a_deployment_that_is_not_ready_by_then_goes_on_as_if_alone(seen: Seen) -> None:
    made = behind(Seen("new", "joining"))
    assert made.step(Cleared("old", 2)) == []
    made.step(seen)
    assert made.phase is (P.WAITING if seen.loaded else P.REHEARSING)
    early = behind()
    assert early.step(Cleared("old", 2)) == []
    assert early.phase is P.PREPARING


def test_a_rehearsal_does_not_wait_for_the_deployment_before() -> None:
    made = behind(Seen("new", "joining"))
    made.rehearse_only = True
    assert essence(made.step(LOADED)) == [Dismiss("new"), Finish(P.DONE, "rehearsed", "old")]


def test_after_a_rollback_of_the_earlier_deployment_it_rehearses_beside_the_leader() -> None:
    made = prepared()
    assert essence(made.step(Exited("old", "it broke"))) == []
    assert made.step(Seen("guard", "leading", True, epoch=3)) == []
    assert made.phase is P.PREPARED
    assert made.step(Cleared("guard", 3)) == [
        SendTo("new", Follow("guard")), ArmTimer("rehearse"), ArmTimer("repeat"),
    ]  # fmt: skip
    assert (made.phase, made.old, made.old_lives, made.granted) == (P.REHEARSING, "guard", True, 3)
    made.step(LOADED)
    assert made.phase is P.WAITING
    # From here on the death of the leader is its own affair again.
    made.step(Seen("guard", "yielding", True, epoch=3))
    made.step(Seen("new", "leading", True, epoch=4))
    assert (made.phase, made.old) == (P.PROBATION, "guard")


def test_a_leader_that_died_is_not_followed_again() -> None:
    made = behind(Seen("new", "joining"))
    assert made.step(Exited("old", "it broke")) == [DisarmTimer("rehearse"), DisarmTimer("repeat")]
    assert made.step(TimerFired("repeat")) == [ArmTimer("repeat")]
    assert made.phase is P.REHEARSING


def test_a_standby_that_came_to_lead_is_not_a_standby_any_more() -> None:
    made = prepared()
    made.step(StandsBy("spare"))
    made.step(Cleared("spare", 3))
    assert (made.old, made.standby) == ("spare", "")


def test_a_deployment_is_aborted_when_no_worker_leads_in_the_end() -> None:
    made = prepared()
    assert essence(made.step(Cleared("", 0))) == [
        Dismiss("new"), Finish(P.ABORTED, "no worker leads to take over from", "old"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (AbortRequested("cancelled by anna"), "cancelled by anna"),
        (CannotRead("new", "no field pct"), "no field pct"),
        (Exited("new", "it broke"), "it broke"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_deployment_that_fails_while_it_waits_changes_no_other_worker(
    event: HandoffEvent, reason: str
) -> None:
    assert essence(prepared().step(event)) == [Dismiss("new"), Finish(P.ABORTED, reason, "old")]


# --- found again ----------------------------------------------------------------------------------------------------

N_LEADS = Seen("old", "leading", True, epoch=2)


@pytest.mark.parametrize(
    ("new", "phase"),
    [
        (Seen("new", "joining", ready=False), P.PREPARING),
        (Seen("new", "following", False), P.REHEARSING),
        (LOADED, P.PREPARED),
        (None, P.ABORTED),
    ],
    ids=["joining", "following", "loaded", "dead"],
)
@pytest.mark.parametrize("old", [N_LEADS, Seen("old", "following", True, epoch=2), None])
def test_a_resumed_deployment_is_in_the_phase_of_its_worker(
    old: Seen | None, new: Seen | None, phase: Phase
) -> None:
    """Whatever the leader is: that is for the deployment before it."""
    made = behind(phase=P.PREPARED)
    made.step(HandoffResumed(old, new, cleared=False))
    assert made.phase is phase


def test_a_resumed_deployment_goes_on_when_the_earlier_one_is_final() -> None:
    made = behind(phase=P.PREPARED)
    made.step(HandoffResumed(N_LEADS, LOADED))
    assert (made.phase, made.after) == (P.WAITING, 0)


def test_a_resumed_deployment_follows_the_leader_when_the_earlier_one_was_rolled_back() -> None:
    made = behind(phase=P.PREPARED)
    made.step(
        HandoffResumed(None, Seen("new", "following", False), third=Seen("guard", "leading", True, epoch=3))
    )
    assert (made.phase, made.old) == (P.REHEARSING, "guard")
    made.step(LOADED)
    assert made.phase is P.WAITING


@pytest.mark.parametrize("cleared", [True, False])
def test_a_resumed_deployment_that_has_taken_over_is_in_its_probation(cleared: bool) -> None:
    made = behind(phase=P.PREPARED)
    made.step(
        HandoffResumed(
            Seen("old", "following", True, epoch=2), Seen("new", "leading", True, epoch=3), cleared=cleared
        )
    )
    assert (made.phase, made.after) == (P.PROBATION, 0)


def test_a_resumed_deployment_ends_when_a_standby_leads() -> None:
    for before, outcome in ((P.WAITING, P.ABORTED), (P.PROBATION, P.ROLLED_BACK)):
        made = Handoff(7, "old", "new", 7000, phase=before, granted=1)
        ended = made.step(HandoffResumed(None, LOADED, third=Seen("spare", "leading", True, epoch=2)))
        assert essence(ended) == [
            Dismiss("new"), Finish(outcome, "the leader died, and spare went on", "spare"),
        ]  # fmt: skip


def test_a_resumed_deployment_with_two_dead_workers_waits_for_a_standby() -> None:
    for new, before in ((None, P.PROBATION), (Seen("new", "following", False), P.REHEARSING)):
        made = Handoff(7, "old", "new", 7000, phase=before)
        commands = made.step(HandoffResumed(None, new, third=Seen("spare", "following", True)))
        assert made.phase is P.SUCCEEDING
        assert SendTo("spare", Lead()) in commands
        made.step(Seen("spare", "leading", True, epoch=9))
        assert made.phase in (P.ROLLED_BACK, P.ABORTED)


def test_a_resumed_deployment_forgets_a_dead_standby() -> None:
    made = Handoff(7, "old", "new", 7000, phase=P.REHEARSING, standby="spare")
    made.step(HandoffResumed(N_LEADS, LOADED))
    assert made.standby == ""


# --- who does not take over -----------------------------------------------------------------------------------------


def test_a_lost_rollback_is_repeated_with_another_order() -> None:
    made = Handoff(7, "old", "new", 7000, phase=P.PROBATION, epoch=2, committed=True)
    assert SendTo("new", YieldTo(7001, "old", 7, back=True)) in made.step(RollbackRequested("rolled back"))
    made.step(Seen("new", "yielding", True, epoch=2))
    assert made.step(Seen("new", "leading", True, epoch=2)) == []
    # No worker took over, and it took the lease back.
    assert made.step(Seen("new", "leading", True, epoch=3)) == [
        SendTo("new", YieldTo(7003, "old", 7, back=True)), ArmTimer("repeat"),
    ]  # fmt: skip
    assert made.step(TimerFired("repeat")) == [
        SendTo("new", YieldTo(7003, "old", 7, back=True)),
        ArmTimer("repeat"),
    ]
    made.step(Seen("new", "yielding", True, epoch=3))
    # But not again and again: each time costs ticks.
    assert made.step(Seen("new", "leading", True, epoch=4)) == []
    made.step(Seen("old", "leading", True, epoch=5))
    assert made.phase is P.ROLLED_BACK


def test_a_resumed_deployment_repeats_a_lost_rollback_with_another_order() -> None:
    made = Handoff(7, "old", "new", 7000, phase=P.REVERTING, epoch=2, asked=2)
    old = Seen("old", "following", True, epoch=2)
    assert SendTo("new", YieldTo(7003, "old", 7, back=True)) in made.step(
        HandoffResumed(old, Seen("new", "leading", True, epoch=3))
    )


def test_an_old_worker_that_does_not_take_the_lease_back_is_killed() -> None:
    made = Handoff(7, "old", "new", 7000, phase=P.PROBATION)
    assert ArmTimer("succeed") in made.step(Exited("new", "it broke"))
    assert made.step(TimerFired("succeed")) == [Kill("old", "it did not take the lease in time")]
    (end,) = essence(made.step(Exited("old", "it did not take the lease in time")))
    assert isinstance(end, Finish)
    assert (end.phase, end.leader) == (P.ROLLED_BACK, "")


@pytest.mark.parametrize(("dead", "left"), [("old", "new"), ("new", "old")])
def test_the_remaining_worker_of_a_transfer_is_killed_if_it_does_not_lead(dead: str, left: str) -> None:
    made = Handoff(7, "old", "new", 7000, phase=P.TRANSFERRING)
    assert ArmTimer("succeed") in made.step(Exited(dead, "it broke"))
    assert made.step(TimerFired("succeed")) == [Kill(left, "it did not take the lease in time")]
