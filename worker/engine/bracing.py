"""Bracing: a leader that is about to yield lets its successor prepare for the final frame.

By then nothing else keeps the leader from yielding: no decision or window is open, and there is time before the next
tick. The leader asks the successor, which answers and then polls for the final frame (see `io/final_frame_socket`).
Meanwhile the leader continues with its turns. If it sends anything to the successor in that time, such as a frame, the
final frame must not overtake it, so the leader asks again at the next boundary. Bracing is optional: a successor that
does not answer, because its release does not know the message or because it is busy, gets the final frame through
ZeroMQ.
"""

from __future__ import annotations

from typing import Protocol

from ...protocol.link import YieldTo
from ..io.clock import Clock
from ..io.final_frame_socket import FinalFrameSocketLike

__all__ = ["Bracing"]

_ANSWERS_WITHIN = 5_000_000
"""How long an answer may take, ns. A successor that has reported that it needs longer has twice its time."""
_ANSWERS_AT_LAST = 2_000_000_000
_GOOD_FOR = 4_000_000
"""How long an answer is valid, ns: somewhat less than the successor polls."""
_TIMES = 3


class PublisherLike(Protocol):
    """The part of `Publisher` that bracing uses."""

    def brace(self, worker: str, order: int) -> None: ...
    def sent_to(self, worker: str) -> int: ...
    def pid_of(self, worker: str) -> int: ...
    def needs_of(self, worker: str) -> int: ...


class Bracing:
    """Asks the successor through `publisher`, and sends the final frame through `final_frames`."""

    def __init__(self, publisher: PublisherLike, clock: Clock, final_frames: FinalFrameSocketLike) -> None:
        self.until = 0
        """When to stop waiting for an answer, CLOCK_MONOTONIC ns; 0 when no answer is expected."""
        self._publisher = publisher
        self._clock = clock
        self._final_frames = final_frames
        self._order = 0
        self._asked = 0
        """How often the successor was asked for this order."""
        self._sent = 0
        """How many messages had been sent to the successor when it was asked; see `Publisher.sent_to`."""
        self._answered = 0
        """When it answered, 0 while it has not."""

    def needs(self, order: YieldTo | None) -> int:
        """How long the successor needs to prepare, ns; 0 once it was asked."""
        if order is None or (order.order == self._order and (self._answered or self.until)):
            return 0
        return self._publisher.needs_of(order.to)

    def ready(self, order: YieldTo, now: int) -> bool:
        """Return whether to yield now: the successor is prepared, or does not answer. Ask it if necessary."""
        if order.order != self._order:
            self._order = order.order
            self._asked = self._answered = self.until = 0
        if self._answered:
            if now - self._answered <= _GOOD_FOR and self._publisher.sent_to(order.to) == self._sent:
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
        """Send the final frame directly to the successor; return whether it was sent."""
        ready = self._answered and order == self._order and self._publisher.sent_to(to) == self._sent
        return bool(ready) and self._final_frames.hand(final)

    def _ask(self, order: YieldTo, now: int) -> None:
        self._asked += 1
        self._answered = 0
        needs = self._publisher.needs_of(order.to)
        self.until = now + max(_ANSWERS_WITHIN, min(2 * needs, _ANSWERS_AT_LAST))
        self._publisher.brace(order.to, order.order)
        self._sent = self._publisher.sent_to(order.to)
