"""Carries out the requests in `control.json`, each id once.

The file is read when inotify reports a change, and at intervals. New requests are recorded in the history before they
are carried out, so that no restart repeats them. A request that an earlier supervisor began and did not answer is
repeated where that is safe, and otherwise answered as in doubt. A command starts when the one before it has been
answered, or has taken a second, so that a slow command delays no other.

Every problem with the file is reported in `status.json`, and the file is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from ...protocol.commands import (
    Answer,
    BadRequest,
    Command,
    decode_command,
    encode_command,
    op_of,
)
from ...protocol.control import (
    MOST_COMMANDS,
    ControlCommand,
    ControlError,
    ControlRequests,
    parse,
)
from ...protocol.errors import NeverblinkError
from ...protocol.wire import UNDECODABLE
from ..store.history_rows import ClaimRow
from ..store.history_thread import HistoryThread
from ..system.poll_loop import PollLoop
from .file_watch import FileWatch
from .json_shapes import (
    AnswerSeen,
    ControlSeen,
    ProblemSeen,
    answer_seen,
    refused_seen,
)
from .read_json import Look, look, read

__all__ = ["RequestFiles"]

_SETTLED = 2_000_000_000
"""A file changed more recently may have been changed again within the file system's timestamp resolution."""
_HALF_WRITTEN = 250_000_000
"""An undecodable file may be half written: it is read again before a problem is reported."""
_PATIENCE_S = 1.0
_SOON_S = 0.05
_FINISH_S = 1.0
_MOST_KNOWN = 100_000

_BEGUN = "control.json"
"""The key in the history that records that ids are kept."""

_AGAIN = frozenset(
    (
        *("status", "pause", "resume", "rebase-clock", "halt", "settings", "send"),
        *("unlock", "commands", "releases", "history", "state", "state-diff", "state-import", "state-set"),
    )
)
"""The commands that can be repeated after a restart: the bot runs each key once, or repeating changes nothing. A
restore is not: "10m" is another point by then."""

_IN_DOUBT = (
    "the supervisor ended while it carried this out, and it is not repeated: see `neverblink history`, and send it "
    "again under another id if it was not done"
)

_OLDER = (
    "it is older than the history of requests, so perhaps it was done already: it is not carried out, send it again "
    "under another id"
)

CarryOut = Callable[[Command, str], Awaitable[Answer]]


class RequestFiles:
    """Reads the file at `path`. `changed` is called when `seen()` has changed, `say` writes a line to the log, `now`
    returns wall ns."""

    def __init__(
        self,
        path: Path,
        history_thread: HistoryThread,
        carry_out: CarryOut,
        *,
        poll: int,
        now: Callable[[], int],
        changed: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._path = path
        self._history_thread = history_thread
        self._carry_out = carry_out
        self._poll = poll / 1e9
        self._now = now
        self._changed = changed
        self._say = say
        self._poll_loop = PollLoop()
        self._file_watch: FileWatch | None = None
        self._watching: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._waiting: asyncio.Queue[tuple[str, Command]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._look: Look | None = None
        self._data: bytes | None = None
        self._doubtful: tuple[bytes, int] | None = None
        """Undecodable contents, and since when they are there."""
        self._problems: tuple[ProblemSeen, ...] = ()
        self._refused: dict[str, AnswerSeen] = {}
        """Entries of the current file that have an id and are not commands."""
        self._running: dict[str, None] = {}
        self._answers: dict[str, AnswerSeen] = {}
        self._older = False
        """Whether the file is older than the history of ids."""
        self._known: dict[str, str] = {}
        """The ids seen in this run, with the digest of their requests."""

    def seen(self) -> ControlSeen:
        """The state of the requests, for `status.json`."""
        answers = [*self._answers.values(), *self._refused.values()][-2 * MOST_COMMANDS :]
        return ControlSeen(self._problems, tuple(self._running), tuple(answers))

    async def begin(self) -> None:
        """Take over the requests of an earlier supervisor, and start reading the file."""
        await self._recall()
        self._file_watch = FileWatch(self._path.parent, self._path.name, self._poll_loop.call, self._say)
        loop = asyncio.get_running_loop()
        self._watching = loop.create_task(self._watch())
        self._working = loop.create_task(self._work())

    async def close(self) -> None:
        """Stop reading; give running commands a moment to be answered."""
        if self._file_watch is not None:
            self._file_watch.close()
        for task in (self._watching, self._working):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_FINISH_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # --- the file

    async def _watch(self) -> None:
        while True:
            # First, so that no change during the read is missed.
            requested = self._poll_loop.begin()
            try:
                # No new requests are read while too many are running.
                if len(self._running) < MOST_COMMANDS:
                    await self._read(requested)
                    self._older = False
                else:
                    self._look = None
            except NeverblinkError as problem:
                # A request that could not be recorded is not carried out, and tried again.
                self._look = None
                self._complain([problem.message])
            except Exception as bug:
                # No contents of the file may end the reading.
                self._look = None
                self._complain([f"the supervisor failed to process it ({bug!r}), and tries again"])
            await self._poll_loop.wait(self._poll if self._doubtful is None else _HALF_WRITTEN / 1e9)

    async def _read(self, requested: bool) -> None:
        there = look(self._path)
        settled = there is not None and self._now() - max(there[2:]) > _SETTLED
        if there == self._look and settled and not requested and self._doubtful is None:
            return
        self._look = there
        try:
            text = read(self._path, os.geteuid())
        except ControlError as problem:
            self._data = self._doubtful = None
            self._refuse({})
            self._complain([problem.message])
            return
        if text is None:
            self._data = self._doubtful = None
            self._refuse({})
            self._complain([])
            return
        if text.data == self._data:
            self._doubtful = None
            return
        try:
            requests = parse(text.data)
        except ControlError as problem:
            if self._doubtful is None or self._doubtful[0] != text.data:
                self._doubtful = text.data, self._now()
            if self._now() - self._doubtful[1] < _HALF_WRITTEN:
                return
            self._doubtful, self._data = None, text.data
            self._refuse({})
            self._complain([problem.message])
            return
        self._doubtful = None
        await self._take(requests)
        self._data = text.data

    async def _take(self, requests: ControlRequests) -> None:
        problems = [refused.problem for refused in requests.refused if not refused.id]
        self._refuse({refused.id: refused.problem for refused in requests.refused if refused.id})
        for wanted in requests.wanted:
            known = self._known.get(wanted.id)
            if known is None:
                known = await self._claim(wanted)
            if known is not None and known != wanted.digest:
                problems.append(
                    f"id {wanted.id!r} was used for another command: it is not carried out, give each its own id"
                )
            elif known is not None and wanted.id not in self._answers and wanted.id not in self._running:
                problems.append(f"id {wanted.id!r} was carried out long ago: its answer is no longer kept")
        self._complain(problems)

    async def _claim(self, wanted: ControlCommand) -> str | None:
        """Carry out a command, unless its id is known: then return the digest of the known request."""
        at = self._now()
        text = encode_command(wanted.command).decode()
        found = await self._history_thread.ask(
            lambda history: history.claim(wanted.id, wanted.op, wanted.digest, text, at)
        )
        self._know(wanted.id, found.digest if found is not None else wanted.digest)
        if found is not None:
            self._remember(found)
            return found.digest
        if self._older:
            await self._answered(refused_seen(wanted.id, wanted.op, self._now(), "failed", _OLDER))
        else:
            self._begin(wanted.id, wanted.command)
        return None

    def _know(self, id: str, digest: str) -> None:
        self._known[id] = digest
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _refuse(self, problems: dict[str, str]) -> None:
        """Answer the entries that are not commands; they may be corrected under the same id."""
        before, self._refused = self._refused, {}
        for id, problem in problems.items():
            was = before.get(id)
            if was is not None and was.error is not None and was.error.message == problem:
                self._refused[id] = was
            else:
                self._refused[id] = refused_seen(id, "", self._now(), "bad-request", problem)
                self._say(f"{self._path.name}: {id}: {problem}")
        if self._refused != before:
            self._changed()

    def _complain(self, problems: list[str]) -> None:
        was = {problem.text: problem for problem in self._problems}
        for text in problems:
            if text not in was:
                self._say(f"{self._path.name}: {text}")
        if list(was) != problems:
            self._problems = tuple(was.get(text) or ProblemSeen(self._now(), text) for text in problems)
            self._changed()

    # --- the requests

    def _begin(self, id: str, command: Command) -> None:
        self._running[id] = None
        self._waiting.put_nowait((id, command))
        # Most are answered by then, which saves one write.
        asyncio.get_running_loop().call_later(_SOON_S, self._changed)

    async def _work(self) -> None:
        while True:
            id, command = await self._waiting.get()
            task = asyncio.get_running_loop().create_task(self._carry(id, command))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.wait({task}, timeout=_PATIENCE_S)

    async def _carry(self, id: str, command: Command) -> None:
        by = command.who or self._path.name
        answer = await self._carry_out(msgspec.structs.replace(command, who=by), f"file-{id}")
        await self._answered(answer_seen(op_of(command), self._now(), msgspec.structs.replace(answer, id=id)))

    async def _answered(self, seen: AnswerSeen) -> None:
        text = msgspec.json.encode(seen).decode()
        # Recorded before it is shown, so that the next supervisor shows the same answer.
        if not await self._history_thread.keep(lambda history: history.settle(seen.id, text, seen.at)):
            self._say(f"{self._path.name}: {seen.id}: its answer is not recorded yet")
        self._running.pop(seen.id, None)
        self._show(seen)

    def _remember(self, row: ClaimRow) -> None:
        """Show an earlier answer again."""
        with contextlib.suppress(*UNDECODABLE):
            self._show(msgspec.json.decode(row.answer, type=AnswerSeen))

    def _show(self, seen: AnswerSeen) -> None:
        self._answers[seen.id] = seen
        while len(self._answers) > MOST_COMMANDS:
            del self._answers[next(iter(self._answers))]
        self._changed()

    async def _recall(self) -> None:
        """Load the earlier answers, and finish the requests without one."""
        answers, opened = await self._history_thread.ask(
            lambda history: (
                history.settled(MOST_COMMANDS),
                history.claimed(),
            )
        )
        begun = await self._history_thread.recall(_BEGUN, bool)
        self._older = not begun and look(self._path) is not None
        self._history_thread.write(lambda history: history.keep(_BEGUN, True))
        for row in answers:
            self._remember(row)
        for row in opened:
            self._know(row.id, row.digest)
            try:
                command = decode_command(row.command.encode())
            except BadRequest:
                command = None
            if command is not None and row.op in _AGAIN:
                self._begin(row.id, command)
            else:
                await self._answered(refused_seen(row.id, row.op, self._now(), "failed", _IN_DOUBT))
