"""Bracing: a leader that is about to yield has its successor make ready, to the microsecond.

By then nothing else keeps the leader: no decision or window is open, and there is time before the next tick. The leader
asks the successor, which answers and then watches for the final frame (see `io/final_frame_socket`). Meanwhile the
leader goes on with its turns. If it sends the successor anything in that time, a frame above all, the final frame must
not overtake it, so the leader asks again at the next boundary. A handoff needs none of this. A successor that does not
answer, because its release does not know the message or because it is busy, gets the final frame like any other.
"""

from __future__ import annotations

from typing import Protocol

from ...protocol.link import YieldTo
from ..io.clock import Clock
from ..io.final_frame_socket import FinalFrameSocketLike

__all__ = ["Bracing"]

_ANSWERS_WITHIN = 5_000_000
_GOOD_FOR = 4_000_000
"""How long an answer is valid: somewhat less than the successor watches."""
_TIMES = 3


class Speaks(Protocol):
    """What bracing needs of the publisher."""

    def brace(self, worker: str, order: int) -> None: ...
    def said_to(self, worker: str) -> int: ...
    def pid_of(self, worker: str) -> int: ...


class Bracing:
    """See the module. Asks the successor through `publisher` and reaches it through `final_frames`."""

    def __init__(self, publisher: Speaks, clock: Clock, final_frames: FinalFrameSocketLike) -> None:
        self.until = 0
        """When to look again if there is no answer, CLOCK_MONOTONIC ns; 0 when none is awaited."""
        self._publisher = publisher
        self._clock = clock
        self._final_frames = final_frames
        self._order = 0
        self._asked = 0
        """How often, for this order."""
        self._said = 0
        """How many messages the successor had been sent when it was asked; see `Publisher.said_to`."""
        self._answered = 0
        """When it answered, 0 while it has not."""

    def ready(self, order: YieldTo, now: int) -> bool:
        """Return whether the successor is ready or need not be waited for; ask it where necessary."""
        if order.order != self._order:
            self._order = order.order
            self._asked = self._answered = self.until = 0
        if self._answered:
            if now - self._answered <= _GOOD_FOR and self._publisher.said_to(order.to) == self._said:
                return True
        elif self._asked and now < self.until:
            return False
        elif self._asked:
            self.until = 0
            return True
        if self._asked == _TIMES:
            return True
        self._ask(order, now)
        return False

    def answered(self, worker: str, order: int) -> None:
        """The successor has answered."""
        if order == self._order and self.until:
            self.until = 0
            self._answered = self._clock.mono()
            self._final_frames.reach(worker, self._publisher.pid_of(worker))

    def hand(self, order: int, to: str, final: bytes) -> bool:
        """Send the final frame straight to the successor; return whether it has it."""
        ready = self._answered and order == self._order and self._publisher.said_to(to) == self._said
        return bool(ready) and self._final_frames.hand(final)

    def _ask(self, order: YieldTo, now: int) -> None:
        self._asked += 1
        self._answered = 0
        self.until = now + _ANSWERS_WITHIN
        self._publisher.brace(order.to, order.order)
        self._said = self._publisher.said_to(order.to)
