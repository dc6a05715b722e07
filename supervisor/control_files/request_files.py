"""The clerk: carries out what `control.json` asks for, each id once.

The file is looked at when the bell rings, and now and then. What is new in it is remembered in the history before it
is carried out, so that no restart makes it twice; what an earlier supervisor had begun and not answered is taken up
where the bot can tell that it was done, and otherwise answered as in doubt. A command is begun when the one before it
has been answered, or has taken a second: what takes long keeps nothing waiting.

Whatever is wrong with the file is named, and harms nothing: the clerk looks again.
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
"""A file that was changed no longer ago may have been changed again within the same moment of the file system's."""
_HALF_WRITTEN = 250_000_000
"""What can't be read may be in the middle of being written: it is looked at again before anything is said."""
_PATIENCE_S = 1.0
_SOON_S = 0.05
_FINISH_S = 1.0
_MOST_KNOWN = 100_000

_BEGUN = "control.json"
"""Under this key it is kept that ids are being remembered."""

_AGAIN = frozenset(
    (
        *("status", "pause", "resume", "rebase-clock", "halt", "settings", "send"),
        *("unlock", "commands", "releases", "history"),
    )
)
"""What can be asked again after a restart: the bot runs it once under its key, or it is the same done twice."""

_IN_DOUBT = (
    "the supervisor ended while it did this, and it is not done again: see `neverblink history`, and ask once more "
    "under another id if it was not done"
)

_OLDER = (
    "it was there before this history of what was carried out, so perhaps it was done already: it is not done now, ask "
    "once more under another id"
)

CarryOut = Callable[[Command, str], Awaitable[Answer]]


class RequestFiles:
    """Reads the file at `path`. `changed` is called when what it has to tell is different, `say` gets a line for the
    log; `now` tells wall ns."""

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
        """What can't be read, and since when it is there."""
        self._problems: tuple[ProblemSeen, ...] = ()
        self._refused: dict[str, AnswerSeen] = {}
        """In the present file: entries with an id that are not commands."""
        self._running: dict[str, None] = {}
        self._answers: dict[str, AnswerSeen] = {}
        self._older = False
        """The file is older than the history of ids: it was put there before anything was remembered."""
        self._known: dict[str, str] = {}
        """Ids that were carried out, with the digest of what they asked for: those that were met in this run."""

    def seen(self) -> ControlSeen:
        """What has become of the file, for `status.json`."""
        answers = [*self._answers.values(), *self._refused.values()][-2 * MOST_COMMANDS :]
        return ControlSeen(self._problems, tuple(self._running), tuple(answers))

    async def begin(self) -> None:
        """Take up what an earlier supervisor left, and look at the file from here on."""
        await self._recall()
        self._file_watch = FileWatch(self._path.parent, self._path.name, self._poll_loop.call, self._say)
        loop = asyncio.get_running_loop()
        self._watching = loop.create_task(self._watch())
        self._working = loop.create_task(self._work())

    async def close(self) -> None:
        """Look no more; give what is under way a moment to be answered."""
        if self._file_watch is not None:
            await self._file_watch.close()
        for task in (self._watching, self._working):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_FINISH_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # the file

    async def _watch(self) -> None:
        while True:
            # First, so that what happens while the file is looked at is not missed.
            rung = self._poll_loop.begin()
            try:
                # Who writes more than can be carried out is not read on until it is.
                if len(self._running) < MOST_COMMANDS:
                    await self._look_at_it(rung)
                    self._older = False
                else:
                    self._look = None
            except NeverblinkError as problem:
                # What could not be remembered is not carried out, and tried again.
                self._look = None
                self._complain([problem.message])
            except Exception as bug:
                # A file of others' making must never be able to end its reading.
                self._look = None
                self._complain([f"the supervisor failed at it ({bug!r}), and tries again"])
            await self._poll_loop.wait(self._poll if self._doubtful is None else _HALF_WRITTEN / 1e9)

    async def _look_at_it(self, rung: bool) -> None:
        there = look(self._path)
        settled = there is not None and self._now() - max(there[2:]) > _SETTLED
        if there == self._look and settled and not rung and self._doubtful is None:
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
            said = parse(text.data)
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
        await self._take(said)
        self._data = text.data

    async def _take(self, said: ControlRequests) -> None:
        problems = [one.problem for one in said.refused if not one.id]
        self._refuse({one.id: one.problem for one in said.refused if one.id})
        for one in said.wanted:
            known = self._known.get(one.id)
            if known is None:
                known = await self._claim(one)
            if known is not None and known != one.digest:
                problems.append(
                    f"id {one.id!r} was another command before: it is not carried out, give each an id of its own"
                )
            elif known is not None and one.id not in self._answers and one.id not in self._running:
                problems.append(f"id {one.id!r} was carried out long ago: its answer is not kept any more")
        self._complain(problems)

    async def _claim(self, one: ControlCommand) -> str | None:
        """Have a command carried out, unless its id is known: then return what that asked for."""
        at = self._now()
        text = encode_command(one.command).decode()
        found = await self._history_thread.ask(
            lambda history: history.claim(one.id, one.op, one.digest, text, at)
        )
        self._know(one.id, found.digest if found is not None else one.digest)
        if found is not None:
            self._remember(found)
            return found.digest
        if self._older:
            await self._answered(refused_seen(one.id, one.op, self._now(), "failed", _OLDER))
        else:
            self._begin(one.id, one.command)
        return None

    def _know(self, id: str, digest: str) -> None:
        self._known[id] = digest
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _refuse(self, problems: dict[str, str]) -> None:
        """Those in the file that are no commands are answered, and may be mended under their id."""
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

    # what it asks for

    def _begin(self, id: str, command: Command) -> None:
        self._running[id] = None
        self._waiting.put_nowait((id, command))
        # Most are answered by then, and need not be reported twice.
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
        # Before it is told: what was told must not be told otherwise by the next supervisor.
        if not await self._history_thread.keep(lambda history: history.settle(seen.id, text, seen.at)):
            self._say(f"{self._path.name}: {seen.id}: its answer is not written yet")
        self._running.pop(seen.id, None)
        self._show(seen)

    def _remember(self, one: ClaimRow) -> None:
        """Tell again what was answered."""
        with contextlib.suppress(*UNDECODABLE):
            self._show(msgspec.json.decode(one.answer, type=AnswerSeen))

    def _show(self, seen: AnswerSeen) -> None:
        self._answers[seen.id] = seen
        while len(self._answers) > MOST_COMMANDS:
            del self._answers[next(iter(self._answers))]
        self._changed()

    async def _recall(self) -> None:
        """What was answered before, and what was not."""
        answers, opened = await self._history_thread.ask(
            lambda history: (
                history.settled(MOST_COMMANDS),
                history.claimed(),
            )
        )
        begun = await self._history_thread.recall(_BEGUN, bool)
        self._older = not begun and look(self._path) is not None
        self._history_thread.write(lambda history: history.keep(_BEGUN, True))
        for one in answers:
            self._remember(one)
        for one in opened:
            self._know(one.id, one.digest)
            try:
                command = decode_command(one.command.encode())
            except BadRequest:
                command = None
            if command is not None and one.op in _AGAIN:
                self._begin(one.id, command)
            else:
                await self._answered(refused_seen(one.id, one.op, self._now(), "failed", _IN_DOUBT))
