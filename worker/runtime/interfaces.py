"""The place a worker runs in, as whoever drives the engine sees it: it listens, and it wakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...protocol.link import SupervisorMessage
from ...protocol.stream import FollowerMessage, LeaderMessage
from ..io.waker import Reactor
from ..replication.interfaces import WorkerIO

__all__ = ["Listener", "Runtime"]


class Listener(Protocol):
    """Who is told what came in: the engine."""

    @property
    def in_turn(self) -> bool:
        """The bot's code is running, in a turn."""
        ...

    def ordered(self, message: SupervisorMessage) -> None: ...
    def from_leader(self, message: LeaderMessage) -> None: ...
    def from_follower(self, worker: str, message: FollowerMessage) -> None: ...
    def died(self, worker: str) -> None: ...


class Runtime(WorkerIO, Protocol):
    """The world outside, from its opening to its end."""

    def open(
        self, reactor: Reactor, listener: Listener, stir: Callable[[], None], nears: Callable[[], None]
    ) -> None:
        """Listen, by `reactor`. Whenever something came in, `listener` has been told of it and `stir()` is called.

        `nears()` is called when the alarm is about to ring; see `loop.AlarmSelector`.
        """
        ...

    def look(self) -> bool:
        """Take in everything that has rung, or arrived while something was sent; return whether anything had."""
        ...

    @property
    def ring_at(self) -> Callable[[int, int], None]:
        """Has `stir()` called at a moment (CLOCK_MONOTONIC, ns), with an alarm's lead (ns). Once it is open."""
        ...

    def close(self) -> None:
        """Say what is still to be said, and let go of everything; the lease last."""
        ...
