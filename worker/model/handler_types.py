"""What a handler is given: the tick, the event, the timer, and the decisions a dead leader left open."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from ...protocol.grid import Gap
from ...protocol.window import Window

__all__ = ["Command", "Event", "InDoubt", "Tick", "Timer"]

S = TypeVar("S")


class Event(msgspec.Struct, frozen=True):
    """Something that was put into the inbox: its key, what it says, and when (wall ns) it was first received.

    `data` is of the worker's `event_type`, or plain dicts, lists and scalars without one.
    """

    key: str
    data: Any
    at: int


class Timer(msgspec.Struct, frozen=True):
    """A timer that went off: when it was due (wall ns), how late it is, and its period (0 for a single one)."""

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

    What came of it is not known; ask the exchange.
    """

    id: str
    name: str
    args: dict[str, Any]
    at: int


class Tick(msgspec.Struct, Generic[S]):
    """One step on the grid. Times are wall-clock ns.

    `gaps` are the indices before this one that did not run, with the cause. `events`, `timers`, `commands` and `halt`
    are filled in `join` loops only; a `Worker` has a handler for each.
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
    halt: bool = False
    """An operator halts the bot: give up what it holds, now. Said once, and the bot is paused from here on."""

    @property
    def windows(self) -> tuple[str, ...]:
        """The names of the windows that are open at `due`."""
        return tuple(window.name for window in self.open_windows)

    def window(self, name: str) -> Window | None:
        """The open window of that name, None when it is not open."""
        return next((window for window in self.open_windows if window.name == name), None)
