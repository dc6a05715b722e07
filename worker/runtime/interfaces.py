"""What drives an engine needs of a worker's surroundings: to hear what came in, and to be woken.

The engine itself needs less, `WorkerIO`; a `Simulation` drives its engines with that alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...protocol.link import SupervisorMessage
from ...protocol.stream import FollowerMessage, LeaderMessage
from ..io.precise_loop import Reactor
from ..replication.interfaces import WorkerIO

__all__ = [
    "Listener",
    "Runtime",
]


class Listener(Protocol):
    """Receives what came in: the engine."""

    @property
    def in_turn(self) -> bool:
        """The bot's code is running, in a turn."""
        ...

    def ordered(self, message: SupervisorMessage) -> None: ...
    def from_leader(self, message: LeaderMessage) -> None: ...
    def from_follower(self, worker: str, message: FollowerMessage) -> None: ...
    def died(self, worker: str) -> None: ...


class Runtime(WorkerIO, Protocol):
    """`WorkerIO` with its beginning, its end and its alarm."""

    def open(
        self,
        reactor: Reactor,
        listener: Listener,
        on_input: Callable[[], None],
        before_alarm: Callable[[], None],
    ) -> None:
        """Listen, by `reactor`. Passes what comes in to `listener`, then calls `on_input()`.

        Calls `before_alarm()` when the alarm is about to ring; see `AlarmSelector`.
        """
        ...

    def look(self) -> bool:
        """Receive everything that has arrived, also while something was sent; return whether anything had."""
        ...

    @property
    def ring_at(self) -> Callable[[int, int], None]:
        """Sets the alarm: `on_input()` is called at that moment (CLOCK_MONOTONIC, ns). Its lead is in ns. Only once
        open."""
        ...

    def close(self) -> None:
        """Send what is still to be sent, and release everything; the lease last."""
        ...
