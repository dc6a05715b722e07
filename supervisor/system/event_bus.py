"""The event bus: every change of state is published here, once, to all listeners.

The event socket, the history and the log are listeners; none of them can stop the others, or the supervisor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from ...protocol.events import Event

__all__ = ["EventBus"]

E = TypeVar("E", bound=Event)


class EventBus:
    """The events of one bot. `wall` tells wall ns; `trouble` is told when a listener fails."""

    def __init__(self, bot: str, wall: Callable[[], int], trouble: Callable[[str], None]) -> None:
        self.bot = bot
        self._wall = wall
        self.trouble = trouble
        """For reports of failures that have no event."""
        self._listeners: list[Callable[[Event], None]] = []

    def now(self) -> int:
        """Wall clock, for the `at` of an event."""
        return self._wall()

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        self._listeners.append(listener)

    def tell(self, event: E) -> E:
        """Hand the event to every listener, with `bot` and `at` filled in; return it as they got it."""
        event = msgspec.structs.replace(event, bot=event.bot or self.bot, at=event.at or self._wall())
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as problem:
                # A listener must never be able to break a handoff.
                self.trouble(f"a listener failed on {type(event).__name__}: {problem!r}")
        return event
