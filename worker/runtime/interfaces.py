"""What drives an engine needs of a worker's surroundings: to hear what came in, and to be woken.

The engine itself needs less, `WorkerIO`; a `Simulation` drives its engines with that alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...protocol.link import SupervisorMessage
from ...protocol.stream import FollowerMessage, LeaderMessage
from ..engine.engine import Engine
from ..io.waker import Reactor
from ..replication.interfaces import WorkerIO

__all__ = ["Listener", "Runtime", "rest"]


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


def rest(engine: Engine, runtime: Runtime) -> bool:
    """Without a step to do: set the alarm for what is due next; return whether to wait for it.

    False: there is something to do at once, because the engine uses its idle time or something has arrived.
    """
    # Sending may use up the signal of what arrives meanwhile, so look before waiting.
    if engine.left is not None or engine.idle() or runtime.look():
        return False
    runtime.ring_at(engine.wake_at(), engine.lead)
    return True
