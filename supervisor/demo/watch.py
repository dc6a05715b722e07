"""Watching the bot: the supervisor's events, and its status.

The one place in the demo that knows how to ask a supervisor from inside; everything that is *done* to the bot goes
through the command line.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from ...protocol.commands import Status
from ...protocol.errors import NeverblinkError
from ...protocol.events import Event
from ..api.client import Client
from ..store.state_dir import Home

__all__ = ["DemoEvents"]


class DemoEvents:
    """A subscription to the supervisor of `home`. Raises `NeverblinkError` while there is none."""

    def __init__(self, home: Path) -> None:
        self._client = Client(Home(home), "demo")
        try:
            self._events = self._client.events()
        except NeverblinkError:
            self._client.close()
            raise

    def next(self, within: float) -> Event | None:
        """The next event, None when there is none within so many seconds."""
        return self._events.next(within)

    def status(self) -> dict[str, Any]:
        return self._client.ask(Status())

    def close(self) -> None:
        self._events.close()
        self._client.close()

    def __enter__(self) -> DemoEvents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
