"""Machines with one rule broken each: the explorer must find every one of them, and tell how.

This is what says that the explorer looks. A mutant is the shipped machine with a wrapper around its `step`.
"""

from __future__ import annotations

import msgspec
import pytest

from neverblink.protocol import seat_events as s
from neverblink.protocol.handoff import handoff_events as h
from neverblink.protocol.handoff.handoff import Handoff
from neverblink.protocol.handoff.handoff_events import HandoffCommand, HandoffEvent, Phase
from neverblink.protocol.link import CancelYield, Retire
from neverblink.protocol.seat import Seat
from neverblink.protocol.seat_events import Role, SeatCommand, SeatEvent

from .composed import Model
from .explorer import Violation, explore
from .machines import Machines


class YieldsInADecision(Seat):
    """Takes no notice of an open decision."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        if isinstance(event, s.Boundary):
            event = msgspec.structs.replace(event, decision="")
        return super().step(event)


class TrustsItsClock(Seat):
    """When no worker took the lease in time it goes on ticking, and does not ask the kernel."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        if self.role is Role.YIELDING and isinstance(event, s.SeatTimerFired):
            self.role = Role.LEADING
            return [s.StartLeading("takeback")]
        return super().step(event)


class ForgetsWhatItCancelled(Seat):
    """An order that was taken back is not settled: a late copy of it is carried out."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        settled = self.settled
        commands = super().step(event)
        if isinstance(event, CancelYield):
            self.settled = settled
        return commands


class KeepsTheLease(Seat):
    """Sends the final frame before it lets go of the lease."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        commands = super().step(event)
        if commands and isinstance(commands[0], s.DropLease):
            commands[0], commands[1] = commands[1], commands[0]
        return commands


class NeverTakesBack(Seat):
    """Waits for its successor for ever."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        if self.role is Role.YIELDING and isinstance(
            event, s.SeatTimerFired | s.LeaderGone | s.SuccessorDeclined
        ):
            return []
        return super().step(event)


class LeavesWhileItLeads(Seat):
    """Obeys an order to retire although it leads."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        if self.role is Role.LEADING and isinstance(event, Retire):
            self.role = Role.RETIRED
            return [s.ExitProcess("retire")]
        return super().step(event)


class StandbyTakesItsTurn(Seat):
    """Leads when its leader is gone, and does not ask the kernel."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        if self.me == "spare" and self.role is Role.FOLLOWING and isinstance(event, s.LeaderGone):
            self.role = Role.LEADING
            return [s.StartLeading("failover")]
        return super().step(event)


class StandbyWaitsToBeTold(Seat):
    """Does not guard."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        if self.me == "spare" and isinstance(event, s.LeaderGone | s.SeatTimerFired):
            return []
        return super().step(event)


class KnowsTwoWorkersOnly(Handoff):
    """Takes no notice of a third worker that leads."""

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        if isinstance(event, h.Seen) and event.worker not in (self.old, self.new):
            return []
        return super().step(event)


class DoesNotWaitForTheStandby(Handoff):
    """Reports that no worker leads as soon as its own two workers are dead."""

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        self.standby = ""
        return super().step(event)


class BelievesOldReports(Handoff):
    """Takes any report of a leader for news, as if the reports of two workers came in order."""

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        if isinstance(event, h.Seen):
            event = msgspec.structs.replace(event, epoch=0)
        return super().step(event)


class EndsBeforeItKnows(Handoff):
    """Says that an order is taken back when it has only asked for it."""

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        commands = super().step(event)
        if self.phase is Phase.CANCELLING:
            self.phase = Phase.ABORTED
            return [*commands, h.Dismiss(self.new), h.Finish(Phase.ABORTED, "cancelled", self.old)]
        return commands


class WaitsForTheOldWorker(Handoff):
    """Leaves the transfer to the workers, as long as both of them live."""

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        if self.phase is Phase.TRANSFERRING and isinstance(event, h.TimerFired) and self.old_lives:
            return []
        return super().step(event)


class GoesOnWhereItWas(Handoff):
    """Found again, believes what was kept of it and not what the workers say."""

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        return [h.ArmTimer("repeat")] if isinstance(event, h.HandoffResumed) else super().step(event)


class TrustsWhatWasKept(Handoff):
    """Found in the rehearsal, is sure that no order was given."""

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        commands = super().step(event)
        self.doubt = False
        return commands


@pytest.mark.parametrize(
    ("seat", "handoff", "budget", "story"),
    [
        (
            YieldsInADecision,
            Handoff,
            (0, 0, 0),
            ["old yielded with a decision open", "open old", "boundary old"],
        ),
        (TrustsItsClock, Handoff, (0, 0, 0), ["old leads without the lease", "alarm old lease", "leading"]),
        (
            ForgetsWhatItCancelled,
            Handoff,
            (0, 1, 0),
            ["saying that old leads, but new does", "repeat old supervisor"],
        ),
        (
            KeepsTheLease,
            Handoff,
            (0, 0, 0),
            ["old sent the final frame while it held the lease", "Final(10)"],
        ),
        (NeverTakesBack, Handoff, (1, 0, 0), ["(no worker leads)", "old yielding", "hang new"]),
        (LeavesWhileItLeads, Handoff, (1, 0, 0), ["retired while it led", "Retire"]),
        (Seat, GoesOnWhereItWas, (1, 0, 0, 1), ["return supervisor", "for ever"]),
        pytest.param(
            Seat,
            TrustsWhatWasKept,
            (1, 1, 0, 1),
            ["saying that old leads, but new does", "kill supervisor unwritten", "stale new"],
            marks=pytest.mark.deep,
        ),
        (Seat, BelievesOldReports, (0, 0, 0), ["saying that old leads, but new does", "rolled_back"]),
        (Seat, EndsBeforeItKnows, (0, 0, 0), ["saying that old leads, but new does", "CancelYield(10)"]),
        (Seat, WaitsForTheOldWorker, (1, 1, 0), ["the deployment stays transferring for ever", "hang old"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_explorer_finds_the_mutant(
    seat: type[Seat], handoff: type[Handoff], budget: tuple[int, ...], story: list[str]
) -> None:
    model = Model(Machines(seat, handoff, plain=True))
    with pytest.raises(Violation) as caught:
        explore(model, model.start(*budget))
    trace = str(caught.value)
    for words in story:
        assert words in trace, trace
    assert "  1 " in trace


@pytest.mark.parametrize(
    ("seat", "handoff", "budget", "story"),
    [
        (StandbyTakesItsTurn, Handoff, (1, 0, 0), ["spare leads without the lease", "gone spare old"]),
        (StandbyWaitsToBeTold, Handoff, (2, 0, 0), ["no worker leads, and none ever will", "gone spare old"]),
        (
            Seat,
            KnowsTwoWorkersOnly,
            (1, 0, 0),
            ["the same things happen for ever", "spare leads under epoch 2"],
        ),
        (Seat, DoesNotWaitForTheStandby, (1, 0, 0), ["saying that no worker leads, but spare does"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_explorer_finds_the_mutant_with_a_standby(
    seat: type[Seat], handoff: type[Handoff], budget: tuple[int, int, int], story: list[str]
) -> None:
    model = Model(Machines(seat, handoff, plain=True), spare=True)
    with pytest.raises(Violation) as caught:
        explore(model, model.start(*budget))
    trace = str(caught.value)
    for words in story:
        assert words in trace, trace
