"""The interface between the driver of an engine and its runtime: to receive input, and to be woken.

The engine itself needs less, `WorkerIO`; a `Simulation` drives its engines with that alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...protocol.feed_queue import FeedQueues
from ...protocol.link import SupervisorMessage
from ...protocol.stream import FollowerMessage, LeaderMessage
from ..io.precise_loop import Reactor
from ..replication.interfaces import WorkerIO

__all__ = [
    "Listener",
    "Runtime",
]


class Listener(Protocol):
    """Receives the input: the engine."""

    @property
    def in_turn(self) -> bool:
        """The bot's code is running, in a turn."""
        ...

    @property
    def feeds(self) -> FeedQueues | None:
        """Where events of feeds go; None while it is not known up to where the bot has applied them."""
        ...

    def ordered(self, message: SupervisorMessage) -> None: ...
    def from_leader(self, message: LeaderMessage) -> None: ...
    def from_follower(self, worker: str, message: FollowerMessage) -> None: ...
    def died(self, worker: str) -> None: ...
    def end_tasks(self, within: float) -> bool: ...


class Runtime(WorkerIO, Protocol):
    """`WorkerIO` with `open`, `close` and an alarm."""

    def open(
        self,
        reactor: Reactor,
        listener: Listener,
        on_input: Callable[[], None],
        before_alarm: Callable[[], None],
    ) -> None:
        """Listen, by `reactor`. Passes input to `listener`, then calls `on_input()`.

        Calls `before_alarm()` right before the alarm; see `AlarmSelector`.
        """
        ...

    def look(self) -> bool:
        """Receive everything that has arrived, also during a send; return whether anything had."""
        ...

    @property
    def ring_at(self) -> Callable[[int, int], None]:
        """Sets the alarm: `on_input()` is called at that time (CLOCK_MONOTONIC, ns). Its lead is in ns. Requires
        `open`."""
        ...

    def close(self) -> None:
        """Send the remaining messages, and release everything; the lease last."""
        ...
