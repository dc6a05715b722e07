"""What a bot's handlers receive: the tick, the event, the timer, the command, and the decisions in doubt."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from ...protocol.grid import Gap
from ...protocol.window import Window

__all__ = ["Command", "Event", "InDoubt", "Tick", "Timer"]

S = TypeVar("S")


class Event(msgspec.Struct, frozen=True):
    """An event from the inbox: its key, its data, and when (wall ns) it was first received.

    `data` has the type `event_type` of the worker; without one, it is plain dicts, lists and scalars.
    """

    key: str
    data: Any
    at: int
    stream: str = ""
    n: int | None = None
    """Its number in the stream, None when it was put without one."""
    gap: tuple[int, int] | None = None
    """The first and last number before this one that did not come within `hold_events`, and were given up."""
    late: bool = False
    """It came after higher numbers were applied: it is in a gap that was told, or before the stream's first number."""
    restarted: bool = False
    """The first event after a restart of its feed. What its source sent in between may be missing."""


class Timer(msgspec.Struct, frozen=True):
    """A timer that fired: when it was due (wall ns), how late it is (ns), and its period (ns, 0 for a single one)."""

    name: str
    due: int
    late: int
    every: int = 0


class Command(msgspec.Struct, frozen=True):
    """An operator's command, in a `join` loop. Answer it with `answers[key] = value`."""

    key: str
    name: str
    args: dict[str, Any]


class InDoubt(msgspec.Struct, frozen=True):
    """A decision that was open when its process died: its id (the client order id), name, arguments and when (wall ns).

    Its outcome is unknown; ask the exchange.
    """

    id: str
    name: str
    args: dict[str, Any]
    at: int


class Tick(msgspec.Struct, Generic[S]):
    """One step on the grid, or with `join(tick=None)` one turn of the loop. Times are wall-clock ns.

    `gaps` are the indices before this tick that did not run, each with its cause. `events`, `timers`, `commands` and
    `halt` are set in `join` loops only; a `Worker` has a handler for each.

    Without ticks `due` is when the event came or the timer was due, `seq` the last heartbeat's number, `interval` the
    time between two heartbeats, `gaps` is empty, and the windows are those that are open now.
    """

    seq: int
    due: int
    late: int
    interval: int
    state: S
    gaps: tuple[Gap, ...] = ()
    open_windows: tuple[Window, ...] = ()
    events: tuple[Event, ...] = ()
    timers: tuple[Timer, ...] = ()
    commands: tuple[Command, ...] = ()
    answers: dict[str, Any] = {}
    first: bool = False
    """This process has run no tick since it came to lead: what it keeps beside the state may be older than that."""
    halt: bool = False
    """An operator halts the bot: close its positions now. True in one tick only; the bot is paused from then on."""

    @property
    def windows(self) -> tuple[str, ...]:
        """The names of the windows that are open at `due`."""
        return tuple(window.name for window in self.open_windows)

    def window(self, name: str) -> Window | None:
        """The open window of that name, None when it is not open."""
        return next((window for window in self.open_windows if window.name == name), None)
