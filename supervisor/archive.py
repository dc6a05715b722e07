"""The history on a thread of its own: a slow disk must not keep the supervisor from the bot.

Notes are written in the order in which they were given, and questions are answered after all notes given before them.
A note that can't be written (a full disk) is reported and lost: the bot does not depend on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..protocol.errors import NeverblinkError
from ..protocol.events import Event, Pulse
from .history import History

__all__ = ["Archive"]

T = TypeVar("T")


class Archive:
    """The history at `path`. `trouble` is told, in the loop's thread, of notes that were lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop, trouble: Callable[[str], None]) -> None:
        self._loop = loop
        self._trouble = trouble
        self._thread = ThreadPoolExecutor(1, "neverblink-history")
        self._history: History | None = None

    async def open(self, path: Path, bot: str) -> None:
        """Open the history. Raises `HistoryError`."""

        def open_it() -> None:
            self._history = History.open(path, bot)

        await self._loop.run_in_executor(self._thread, open_it)

    def note(self, event: Event) -> None:
        """Remember the event, soon."""
        if not isinstance(event, Pulse):
            self.write(lambda history: history.record(event))

    def write(self, change: Callable[[History], object]) -> None:
        """Change the history, soon."""
        self._thread.submit(self._use, change).add_done_callback(self._written)

    async def ask(self, question: Callable[[History], T]) -> T:
        """The answer of the history to `question`. Raises what it raises."""
        return await self._loop.run_in_executor(self._thread, self._use, question)

    async def close(self) -> None:
        """Write what there is to write, and close the file."""

        def close_it() -> None:
            if self._history is not None:
                self._history.close()
                self._history = None

        await self._loop.run_in_executor(self._thread, close_it)
        self._thread.shutdown()

    def _use(self, what: Callable[[History], T]) -> T:
        assert self._history is not None
        return what(self._history)

    def _written(self, done: Future[object]) -> None:
        problem = done.exception()
        if problem is not None:
            said = problem.message if isinstance(problem, NeverblinkError) else repr(problem)
            self._loop.call_soon_threadsafe(self._trouble, said)
