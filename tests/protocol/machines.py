"""The shipped machines as pure functions: a state's number and an event in, the next state's number and commands out.

An explorer takes the same step of the same machine in thousands of situations that differ elsewhere. So each distinct
`Seat` and `Handoff` is kept once and named by a number, and each step is run once, by the shipped `step`, and
remembered. Another class may stand in for a machine, which is how the mutants are made.
"""

from __future__ import annotations

from copy import copy

import msgspec

from neverblink.protocol.handoff import handoff_events as terms
from neverblink.protocol.handoff.handoff import RULES, Handoff
from neverblink.protocol.handoff.handoff_events import HandoffCommand, HandoffEvent, Phase, Seen
from neverblink.protocol.seat import Seat
from neverblink.protocol.seat_events import SeatCommand, SeatEvent

__all__ = ["Machines"]


class Machines:
    """Runs machines of the classes `seat` and `handoff`.

    With `plain`, texts that are only told and decide nothing (what an order waits for, why something is cancelled) are
    forgotten after each step, so that situations which differ in nothing else are one.
    """

    def __init__(
        self, seat: type[Seat] = Seat, handoff: type[Handoff] = Handoff, *, plain: bool = False
    ) -> None:
        self.seat = seat
        self.handoff = handoff
        self.plain = plain
        self._seats: list[Seat] = []
        self._seat_numbers: dict[object, int] = {}
        self._seat_steps: dict[tuple[int, SeatEvent], tuple[int, list[SeatCommand]]] = {}
        self._handoffs: list[Handoff] = []
        self._handoff_numbers: dict[object, int] = {}
        self._handoff_steps: dict[tuple[int, HandoffEvent], tuple[int, list[HandoffCommand]]] = {}
        self._old_news: dict[tuple[int, Seen], bool] = {}
        self._ahead = {phase: _reachable(phase) for phase in Phase}

    def seat_of(self, number: int) -> Seat:
        return self._seats[number]

    def handoff_of(self, number: int) -> Handoff:
        return self._handoffs[number]

    def number_of_seat(self, seat: Seat) -> int:
        key = msgspec.structs.astuple(seat)
        number = self._seat_numbers.get(key)
        if number is None:
            number = self._seat_numbers[key] = len(self._seats)
            self._seats.append(seat)
        return number

    def number_of_handoff(self, handoff: Handoff) -> int:
        key = msgspec.structs.astuple(handoff)
        number = self._handoff_numbers.get(key)
        if number is None:
            number = self._handoff_numbers[key] = len(self._handoffs)
            self._handoffs.append(handoff)
        return number

    def step_seat(self, number: int, event: SeatEvent) -> tuple[int, list[SeatCommand]]:
        known = self._seat_steps.get((number, event))
        if known is None:
            seat = copy(self._seats[number])
            commands = seat.step(event)
            if self.plain:
                seat.held = ""
            known = self._seat_steps[number, event] = self.number_of_seat(seat), commands
        return known

    def step_handoff(self, number: int, event: HandoffEvent) -> tuple[int, list[HandoffCommand]]:
        known = self._handoff_steps.get((number, event))
        if known is None:
            handoff = copy(self._handoffs[number])
            commands = handoff.step(event)
            if self.plain:
                handoff.reason = ""
            known = self._handoff_steps[number, event] = self.number_of_handoff(handoff), commands
        return known

    def is_old_news(self, number: int, report: Seen) -> bool:
        """Whether the handoff would ignore `report` from now on, in every phase that it can still come to."""
        known = self._old_news.get((number, report))
        if known is None:
            now = self._handoffs[number]
            known = self._old_news[number, report] = not any(
                _matters(now, phase, report) for phase in self._ahead[now.phase]
            )
        return known


def _reachable(phase: Phase) -> set[Phase]:
    """The phases that may follow, and `phase` itself, by the table."""
    reached, todo = {phase}, [phase]
    while todo:
        # What a returning supervisor finds does not depend on reports: none is on its way then.
        answers = RULES[todo.pop()].items()
        for rule in (rule for event, rule in answers if event is not terms.HandoffResumed):
            new = set(rule.leads_to) - reached
            reached |= new
            todo += new
    return reached


def _matters(handoff: Handoff, phase: Phase, report: Seen) -> bool:
    before = copy(handoff)
    before.phase = phase
    after = copy(before)
    return bool(after.step(report)) or after != before
