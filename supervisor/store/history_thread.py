"""The history on a thread of its own: a slow disk must not keep the supervisor from the bot.

Writes happen in the order in which they were queued, and a read sees all writes queued before it. While the file cannot
be written (another process has locked it, the disk is full, it is read-only), writes are kept in memory and made later,
in order; meanwhile reads see what has been written. Writes that no longer fit into memory, and those still waiting when
the supervisor ends, are lost: they are counted and reported.

A removed file is written again completely. A damaged file is set aside, and a new one is begun.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ...protocol.events import Event, Heartbeat
from .history_db import HistoryDb, HistoryError
from .history_rows import WorkerRow

__all__ = ["HistoryThread"]

T = TypeVar("T")
Change = Callable[[HistoryDb], object]

_MOST_KEPT = 20_000
"""The most writes in memory: some megabytes."""
_PAUSE_S = 0.5
_LAST_TRIES_S = 3.0
_KEEP_WITHIN_S = 1.0
_OPEN_WITHIN_S = 15.0


class HistoryThread:
    """The history of one bot. Calls `trouble`, in the loop's thread, when writing fails and when it works again."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        trouble: Callable[[str], None],
        *,
        most_kept: int = _MOST_KEPT,
        last_tries: float = _LAST_TRIES_S,
    ) -> None:
        self._loop = loop
        self._trouble = trouble
        self._most_kept = most_kept
        self._last_tries = last_tries
        self._thread = ThreadPoolExecutor(1, "neverblink-history")
        self._history: HistoryDb | None = None
        self._path = Path()
        self._bot = ""
        # Filled in the loop's thread, emptied in the history's thread.
        self._notes: deque[tuple[Change, Future[None]]] = deque()
        self._dropped = 0
        # Used in the history's thread only.
        self._failing = ""
        """Why writes wait, "" when they don't."""
        self._again_at = 0.0
        self._late = 0
        """How many writes were made since it failed."""

    @property
    def failing(self) -> str:
        """Why the history can't be written, "" when it can."""
        return self._failing

    @property
    def waiting(self) -> int:
        """How many writes wait."""
        return len(self._notes)

    @property
    def lost(self) -> int:
        """How many writes did not fit into memory since it failed."""
        return self._dropped

    async def open(self, path: Path, bot: str) -> None:
        """Open the history; one that is damaged is set aside. Raises `HistoryError`."""
        self._path, self._bot = path, bot
        await self._loop.run_in_executor(self._thread, self._open)

    def note(self, event: Event) -> None:
        """Queue the event to be recorded."""
        if not isinstance(event, Heartbeat):
            self.write(lambda history: history.record(event))

    def write(self, change: Change) -> Future[None]:
        """Queue a change of the history. The future is done when it is written or lost."""
        done: Future[None] = Future()
        if len(self._notes) >= self._most_kept:
            self._dropped += 1
            done.set_exception(HistoryError(self._path, "too much waits to be written"))
            return done
        self._notes.append((change, done))
        self._thread.submit(self._flush)
        return done

    async def keep(self, change: Change, within: float = _KEEP_WITHIN_S) -> bool:
        """Change the history; return whether that was written within `within` seconds."""
        written = self.write(change)
        try:
            await asyncio.wait_for(asyncio.shield(_done_future(written)), within)
        except TimeoutError:
            return False
        return not written.cancelled() and written.exception() is None

    async def ask(self, question: Callable[[HistoryDb], T]) -> T:
        """Run `question` on the history's thread and return its result. Raises what it raises."""

        def answer() -> T:
            self._flush()
            assert self._history is not None
            try:
                return question(self._history)
            except HistoryError as problem:
                if not problem.damaged or not self._could_begin_anew():
                    raise
            return question(self._history)

        return await self._loop.run_in_executor(self._thread, answer)

    async def recall(self, key: str, type: type[T]) -> T | None:
        """The value under the key. None, and a report to `trouble`, when this neverblink can't read it."""
        try:
            return await self.ask(lambda history: history.kept(key, type))
        except HistoryError as problem:
            self._trouble(f"{problem.message}: going on without it")
            return None

    async def close(self) -> None:
        """Write what is queued, for some seconds if needed, and close the file."""
        await self._loop.run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    # in the history's thread

    def _open(self) -> None:
        until = time.monotonic() + _OPEN_WITHIN_S
        while True:
            try:
                self._open_whole()
                return
            except HistoryError as problem:
                if problem.damaged:
                    self._begin_anew()
                    return
                if not problem.locked or time.monotonic() > until:
                    raise

    def _open_whole(self) -> None:
        if self._path.is_file() and self._path.stat().st_size == 0:
            self._say(f"history {self._path} is empty: it begins anew")
        self._history = HistoryDb.open(self._path, self._bot)
        # Otherwise the first read of a damaged part would find the damage.
        self._history.check()

    def _begin_anew(self) -> None:
        living = self._remaining()
        if self._history is not None:
            self._history.close()
        aside = HistoryDb.set_aside(self._path, "damaged")
        self._say(f"history {self._path} is damaged, and set aside as {aside.name}: another is begun")
        self._history = HistoryDb.open(self._path, self._bot)
        for row in living:
            self._history.started(row.worker, row.release, row.pid, row.started, Path(row.log), row.begun)

    def _remaining(self) -> list[WorkerRow]:
        """The workers that may be alive, as far as the damaged history can be read."""
        try:
            return self._history.remaining() if self._history is not None else []
        except HistoryError:
            return []

    def _flush(self) -> None:
        """Make the queued writes, as far as that is possible now."""
        if not self._notes or (self._failing and time.monotonic() < self._again_at):
            return
        if self._history is None:
            return
        while self._notes:
            change, done = self._notes[0]
            try:
                self._history = self._history.restored()
                change(self._history)
            except HistoryError as problem:
                if problem.damaged and self._could_begin_anew():
                    continue
                if problem.passing:
                    self._put_off(problem)
                    return
                self._lose(problem.message, problem)
            except Exception as bug:
                self._lose(repr(bug), bug)
            else:
                self._notes.popleft()
                self._late += bool(self._failing)
                done.set_result(None)
        if self._failing:
            lost = f", {self._dropped} are lost" if self._dropped else ""
            self._say(f"the history is written again: {self._late} entries had waited{lost}")
            self._failing, self._late, self._dropped = "", 0, 0

    def _put_off(self, problem: HistoryError) -> None:
        if not self._failing:
            self._say(f"{problem.message}: entries are kept in memory until it can be written")
        self._failing = problem.message
        self._again_at = time.monotonic() + _PAUSE_S
        self._loop.call_soon_threadsafe(self._loop.call_later, _PAUSE_S, self._try_again)

    def _try_again(self) -> None:
        try:
            self._thread.submit(self._flush)
        except RuntimeError:
            # Closed meanwhile.
            return

    def _could_begin_anew(self) -> bool:
        try:
            self._begin_anew()
        except (HistoryError, OSError):
            return False
        return True

    def _lose(self, why: str, problem: Exception) -> None:
        _, done = self._notes.popleft()
        done.set_exception(problem)
        self._say(f"a history entry is lost: {why}")

    def _close(self) -> None:
        until = time.monotonic() + self._last_tries
        while self._notes and time.monotonic() < until:
            self._again_at = 0.0
            self._flush()
            if self._notes:
                time.sleep(0.05)
        lost = len(self._notes) + self._dropped
        if lost:
            self._say(f"{lost} history entries are lost: {self._failing}")
        for _, done in self._notes:
            done.cancel()
        self._notes.clear()
        if self._history is not None:
            self._history.close()
            self._history = None

    def _say(self, text: str) -> None:
        self._loop.call_soon_threadsafe(self._trouble, text)


def _done_future(done: Future[None]) -> asyncio.Future[None]:
    """A future of this thread's loop that is done when `done` is, with or without an error."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not future.done():
            future.set_result(None)

    done.add_done_callback(lambda _: loop.call_soon_threadsafe(tell))
    return future
