"""The supervisor's history in SQLite: deployments with their phases, workers, leaders and commands.

It is written from the events that every listener gets, so it cannot disagree with them. Only data that is needed before
an event (a deployment's number), or that no event has (a process's start time), has its own methods. It belongs to the
supervisor: no tick depends on it, and a worker never sees it.

WAL mode, so that a reader never blocks the writer. Each call is one transaction. A commit costs no fsync. A power loss
can take the last commits, and the file stays consistent.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.events import (
    Commanded,
    DeploymentEnded,
    Event,
    LeaderChanged,
    Outage,
    OutageChanged,
    PhaseChanged,
    StandbyChanged,
    StepDone,
    WorkerExited,
)
from ...protocol.wire import UNDECODABLE
from ..system.text import clean, cleaned
from .history_rows import (
    SCHEMA,
    STEPS,
    ClaimRow,
    CommandRow,
    CommitNote,
    DeploymentRow,
    Kind,
    LeaderRow,
    PhaseNote,
    StepNote,
    WorkerRow,
)

__all__ = ["HistoryDb", "HistoryError", "NoSuchDeployment"]

MOST_IDS = 100_000
"""How many commands of control.json are recorded, so that none is carried out twice."""
MOST_ANSWERS = 4096
"""How many of their answers are kept."""

_WAIT_S = 1.0
"""How long a call waits for another process that writes."""

T = TypeVar("T")
Row = TypeVar("Row", bound=msgspec.Struct)


class HistoryError(NeverblinkError):
    """The history at `path` can't be read or written."""

    def __init__(
        self, path: Path, problem: str, cause: sqlite3.Error | None = None, *, unreadable: bool = False
    ) -> None:
        super().__init__(f"history {path}: {problem}")
        self.path = path
        self._cause = cause
        self._unreadable = unreadable

    @property
    def passing(self) -> bool:
        """Whether a later attempt may succeed: the file is locked, the disk is full, or the like."""
        return isinstance(self._cause, sqlite3.OperationalError) or self.damaged

    @property
    def locked(self) -> bool:
        """Whether another process writes to it."""
        return _code(self._cause) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

    @property
    def damaged(self) -> bool:
        """Whether the file is not a database, is incomplete, or has contents that this program did not write."""
        return self._unreadable or _code(self._cause) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class NoSuchDeployment(HistoryError):
    """There is no deployment with this number; `newest` is the last one's, 0 when there is none."""

    def __init__(self, path: Path, deployment: int, newest: int) -> None:
        known = f"the newest is {newest}" if newest else "there is none yet"
        super().__init__(path, f"no deployment {deployment}: see `neverblink history` ({known})")
        self.deployment = deployment
        self.newest = newest


class HistoryDb:
    """The history of one bot. Belongs to the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection, path: Path, bot: str) -> None:
        self.path = path
        self.bot = bot
        self._connection = connection
        self._identity: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: Path, bot: str, read_only: bool = False) -> HistoryDb:
        """Open the history at `path`, and make it unless `read_only`. Raises `HistoryError`."""
        if read_only and not path.is_file():
            raise HistoryError(path, "there is none yet: it begins with `neverblink up`")
        if path.is_symlink():
            raise HistoryError(
                path, "is a symbolic link, and is not followed: remove it, or put the file itself there"
            )
        if path.exists() and not path.is_file():
            raise HistoryError(path, "is not a file", unreadable=True)
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
                uri=True,
                timeout=_WAIT_S,
                isolation_level=None,
            )
        except sqlite3.Error as problem:
            raise HistoryError(path, f"can't be opened: {problem}", problem) from None
        history = cls(connection, path, bot)
        try:
            history._prepare(read_only)
            history._identity = _identity(path)
        except BaseException:
            connection.close()
            raise
        return history

    @staticmethod
    def set_aside(path: Path, why: str) -> Path:
        """Rename the file at `path` and SQLite's files beside it; return the new path. Raises `OSError`."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = path.with_name(f"{path.name}.{why}-{stamp}")
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
        return aside

    def check(self) -> None:
        """Check the whole file. Raises `HistoryError` when it is damaged."""
        found = self._run("pragma quick_check(1)")
        if (problem := found[0][0] if found else "") != "ok":
            raise HistoryError(self.path, f"is damaged: {problem}", unreadable=True)

    def restored(self) -> HistoryDb:
        """This history, or a copy of it at its path when the file there was removed or replaced.

        Raises `HistoryError`.
        """
        if _identity(self.path) == self._identity:
            return self
        try:
            # SQLite's files beside a database belong to it: they must not be found beside another.
            self.set_aside(self.path, "replaced")
        except OSError as problem:
            raise HistoryError(self.path, f"was removed or replaced: {problem.strerror}") from None
        fresh = HistoryDb.open(self.path, self.bot)
        try:
            self._connection.backup(fresh._connection)
        except sqlite3.Error as problem:
            fresh.close()
            raise HistoryError(
                self.path, f"was removed, and can't be written again: {problem}", problem
            ) from None
        self.close()
        return fresh

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> HistoryDb:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- writing ----------------------------------------------------------------------------------------------------

    def begin(
        self,
        kind: Kind,
        release: str,
        previous: str,
        at: int,
        *,
        who: str = "",
        why: str = "",
        dry_run: bool = False,
        note: CommitNote | None = None,
        id: int = 0,
    ) -> int:
        """Record a new deployment and return its number, which is unique. `note` is its commit.

        `id` is its number if it has one already: it has waited in the queue, and is recorded again when it begins.
        """
        row = self._put(
            "deployments",
            **({"id": id} if id else {}),
            bot=self.bot,
            kind=kind,
            release=release,
            previous=previous,
            who=who,
            why=why,
            dry_run=dry_run,
            begun=at,
            **(msgspec.structs.asdict(note) if note is not None else {}),
        )
        assert row is not None
        return row

    def started(self, worker: str, release: str, pid: int, started: int, log: Path, at: int) -> None:
        """Record a worker's process."""
        self._put(
            "workers",
            bot=self.bot,
            worker=worker,
            release=release,
            pid=pid,
            started=started,
            log=str(log),
            begun=at,
        )

    def record(self, event: Event) -> None:
        """Record the event, if it belongs in the history."""
        match event:
            case PhaseChanged():
                self._put("phases", **_fields(event, "bot", "deployment", "at", "phase", "before", "took"))
            case StepDone(step="probation"):
                # Progress for watchers. Its phase has the duration.
                pass
            case StepDone():
                facts = _document(event.facts)
                fields = _fields(event, "bot", "deployment", "at", "step", "text", "took")
                self._put("steps", **fields, facts=facts)
            case DeploymentEnded():
                fields = _fields(
                    event,
                    *("outcome", "reason", "leader", "seq", "blackout", "late", "missed", "rollback"),
                    "heartbeats",
                )
                self._change(
                    "deployments",
                    {**fields, "ended": event.at, "runs": event.release},
                    {"bot": event.bot, "id": event.deployment},
                )
            case WorkerExited():
                self._change(
                    "workers",
                    {"ended": event.at, "code": event.code, "reason": event.reason},
                    {"bot": event.bot, "worker": event.worker},
                )
            case LeaderChanged():
                self._put("leaders", **_fields(event, *LeaderRow.__struct_fields__))
            case OutageChanged(outage=outage):
                fields = msgspec.structs.asdict(outage)
                lists = {name: _document(fields[name]) for name in ("windows", "in_doubt")}
                self._put("outages", bot=event.bot, **{**fields, **lists})
            case StandbyChanged():
                self._put("standbys", **_fields(event, "bot", "at", "worker", "release", "state", "reason"))
            case Commanded():
                fields = _fields(event, *CommandRow.__struct_fields__)
                self._put("commands", **{**fields, "facts": _document(event.facts)})
            case _:
                pass

    def keep(self, key: str, value: Any) -> None:
        """Store a value that msgspec can encode under a key, replacing the old one: the lock, a handoff's state."""
        text = _document(value)
        self._run(
            "insert into kept values (?, ?, ?) on conflict (bot, key) do update set value = excluded.value",
            self.bot,
            key,
            text,
        )

    def drop(self, key: str) -> None:
        """Delete the value under a key."""
        self._run("delete from kept where bot = ? and key = ?", self.bot, key)

    # --- control.json -----------------------------------------------------------------------------------------------

    def claim(
        self, id: str, op: str, digest: str, command: str, at: int, *, most: int = MOST_IDS
    ) -> ClaimRow | None:
        """Record that a command is being carried out; return the earlier record if its id is known.

        The last `most` are kept.
        """
        found = self._get(ClaimRow, "from control where bot = ? and id = ?", self.bot, id)
        if found:
            return found[0]
        row = self._put("control", bot=self.bot, id=id, at=at, op=op, digest=digest, command=command)
        self._run("delete from control where rowid <= ? and answered is not null", (row or 0) - most)
        return None

    def settle(self, id: str, answer: str, at: int, *, answers: int = MOST_ANSWERS) -> None:
        """Record the answer to a claimed command. The last `answers` answers are kept."""
        self._change(
            "control", {"answered": at, "answer": answer, "command": ""}, {"bot": self.bot, "id": id}
        )
        # Only those that have just become too old: searching all of them would take long.
        self._run(
            "with last (row) as (select max(rowid) from control) update control set answer = '' "
            "where rowid between (select row from last) - ? and (select row from last) - ?",
            2 * answers,
            answers,
        )

    def claimed(self) -> list[ClaimRow]:
        """The commands without an answer, oldest first: after a start, those that a killed supervisor left."""
        return self._get(ClaimRow, "from control where bot = ? and answered is null order by rowid", self.bot)

    def settled(self, limit: int) -> list[ClaimRow]:
        """The last commands whose answers are kept, oldest first."""
        return self._get(
            ClaimRow,
            "from control where bot = ? and answer <> '' order by rowid desc limit ?",
            self.bot,
            limit,
        )[::-1]

    # --- reading ----------------------------------------------------------------------------------------------------

    def kept(self, key: str, type: type[T]) -> T | None:
        """The value under the key, None for none. Raises `HistoryError` when it isn't a `type`."""
        rows = self._run("select value from kept where bot = ? and key = ?", self.bot, key)
        try:
            return msgspec.json.decode(rows[0]["value"], type=type) if rows else None
        except UNDECODABLE as problem:
            raise HistoryError(self.path, f'what was kept as "{key}" can\'t be read: {problem}') from None

    def deployments(self, limit: int = 20) -> list[DeploymentRow]:
        """The last deployments, newest first, with their phases and without their steps."""
        rows = self._get(
            DeploymentRow, "from deployments where bot = ? order by id desc limit ?", self.bot, limit
        )
        phases: dict[int, list[PhaseNote]] = {}
        if rows:
            for found in self._run(
                "select deployment, at, phase, before, took from phases where deployment between ? and ? "
                "order by at, rowid",
                rows[-1].id,
                rows[0].id,
            ):
                deployment, *note = found
                phases.setdefault(deployment, []).append(PhaseNote(*note))
        return [msgspec.structs.replace(row, phases=tuple(phases.get(row.id, ()))) for row in rows]

    def deployment(self, id: int) -> DeploymentRow:
        """One deployment with its phases and steps. Raises `NoSuchDeployment`."""
        found = self._get(DeploymentRow, "from deployments where bot = ? and id = ?", self.bot, id)
        if not found:
            newest = self.deployments(1)
            raise NoSuchDeployment(self.path, id, newest[0].id if newest else 0)
        phases = self._get(PhaseNote, "from phases where deployment = ? order by at, rowid", id)
        steps = self._get(
            StepNote, "from steps where deployment = ? and step != 'probation' order by at, rowid", id
        )
        return msgspec.structs.replace(found[0], phases=tuple(phases), steps=tuple(steps))

    def last_of(self, commit: str) -> tuple[int, str]:
        """The number of the last deployment of a commit and its outcome, "" while it runs; 0 when there was none."""
        rows = self._run(
            'select id, outcome from deployments where bot = ? and "commit" = ? and not dry_run '
            "order by id desc limit 1",
            self.bot,
            commit,
        )
        return (rows[0]["id"], rows[0]["outcome"] or "") if rows else (0, "")

    def unfinished(self) -> list[DeploymentRow]:
        """Deployments without an end, oldest first: after a start, those that a killed supervisor left."""
        return self._get(
            DeploymentRow, "from deployments where bot = ? and ended is null order by id", self.bot
        )

    def workers(self, limit: int = 20) -> list[WorkerRow]:
        """The last workers, newest first."""
        return self._get(
            WorkerRow, "from workers where bot = ? order by begun desc, rowid desc limit ?", self.bot, limit
        )

    def remaining(self) -> list[WorkerRow]:
        """Workers without a recorded end, oldest first: after a start, those to look for and adopt."""
        return self._get(
            WorkerRow, "from workers where bot = ? and ended is null order by begun, rowid", self.bot
        )

    def reason(self, worker: str) -> str:
        """Why a worker ended, "" when it has not, or is not known."""
        rows = self._run("select reason from workers where bot = ? and worker = ?", self.bot, worker)
        return rows[0]["reason"] if rows else ""

    def leaders(self, limit: int = 20) -> list[LeaderRow]:
        """The last changes of leadership, newest first."""
        return self._get(
            LeaderRow, "from leaders where bot = ? order by at desc, rowid desc limit ?", self.bot, limit
        )

    def commands(self, limit: int = 20) -> list[CommandRow]:
        """The last commands, newest first."""
        return self._get(
            CommandRow, "from commands where bot = ? order by at desc, rowid desc limit ?", self.bot, limit
        )

    def last_effect(self) -> tuple[int, int]:
        """The tick after which the last command took effect, and the wall time (ns) of its answer; (-1, 0) for none."""
        rows = self._run(
            "select seq, at from commands where bot = ? and outcome = 'ok' and seq is not null "
            "order by at desc, rowid desc limit 1",
            self.bot,
        )
        return (rows[0]["seq"], rows[0]["at"]) if rows else (-1, 0)

    def outages(self, limit: int = 20, *, unacknowledged: bool = False) -> list[Outage]:
        """The last outages, newest first; or the last of those that are not acknowledged."""
        which = "and acknowledged is null " if unacknowledged else ""
        return self._get(
            Outage, f"from outages where bot = ? {which}order by id desc limit ?", self.bot, limit
        )

    def standbys(self, limit: int = 20) -> list[StandbyChanged]:
        """The last changes of the standby, newest first."""
        rows = self._run(
            "select bot, at, worker, release, state, reason from standbys where bot = ? "
            "order by at desc, rowid desc limit ?",
            self.bot,
            limit,
        )
        return [StandbyChanged(**dict(row)) for row in rows]

    def bots(self) -> list[str]:
        """The bots in this file, latest first. A home has one bot, whose name the caller may not know."""
        rows = self._run("select bot from workers group by bot order by max(begun) desc")
        return [row["bot"] for row in rows]

    # --- parts ------------------------------------------------------------------------------------------------------

    def _prepare(self, read_only: bool) -> None:
        self._connection.row_factory = sqlite3.Row
        # An earlier version may have written what is not UTF-8.
        self._connection.text_factory = clean
        try:
            if not read_only:
                self._connection.execute("pragma journal_mode = wal")
                self._connection.execute("pragma synchronous = normal")
            # When two processes open a new file, one makes the tables and the other waits.
            self._connection.execute("begin" if read_only else "begin immediate")
            version: int = self._connection.execute("pragma user_version").fetchone()[0]
            if version < SCHEMA and not read_only:
                for step in STEPS[version:]:
                    for statement in step.split(";\n"):
                        self._connection.execute(statement)
                self._connection.execute(f"pragma user_version = {SCHEMA}")
                version = SCHEMA
            self._connection.execute("commit")
        except sqlite3.OperationalError as problem:
            raise HistoryError(self.path, f"can't be used: {problem}{_mend(problem)}", problem) from None
        except sqlite3.DatabaseError as problem:
            raise HistoryError(
                self.path,
                f"can't be read ({problem}): the next `neverblink up` sets it aside, and begins another",
                problem,
            ) from None
        if version < SCHEMA:
            raise HistoryError(
                self.path,
                f"has schema {version}, this neverblink knows {SCHEMA}: `neverblink up` brings it up to date",
            )
        if version > SCHEMA:
            raise HistoryError(
                self.path,
                f"has schema {version}, this neverblink knows {SCHEMA}: use the version that wrote it, or move it away",
            )

    def _put(self, table: str, **values: object) -> int | None:
        marks = ", ".join("?" * len(values))
        try:
            return self._connection.execute(
                f"insert or replace into {table} ({', '.join(map(_quoted, values))}) values ({marks})",
                tuple(map(_storable, values.values())),
            ).lastrowid
        except sqlite3.Error as problem:
            raise HistoryError(self.path, f"can't be written: {problem}", problem) from None

    def _change(self, table: str, values: dict[str, object], where: dict[str, object]) -> None:
        self._run(
            f"update {table} set {', '.join(f'{_quoted(name)} = ?' for name in values)}"
            f" where {' and '.join(f'{_quoted(name)} = ?' for name in where)}",
            *values.values(),
            *where.values(),
        )

    def _get(self, row: type[Row], rest: str, *values: object) -> list[Row]:
        wanted = [name for name in row.__struct_fields__ if name not in ("phases", "steps")]
        rows = self._run(f"select {', '.join(map(_quoted, wanted))} {rest}", *values)
        # Skip rows of another version that this one can't read.
        return [read for found in rows if (read := _as(row, found)) is not None]

    def _run(self, statement: str, *values: object) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(statement, tuple(map(_storable, values))).fetchall()
        except sqlite3.Error as problem:
            raise HistoryError(self.path, f"can't be used: {problem}", problem) from None


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at the path, None for none."""
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _code(problem: sqlite3.Error | None) -> int:
    """SQLite's primary result code, 0 when there is none."""
    code: int = getattr(problem, "sqlite_errorcode", 0)
    return code & 0xFF


def _mend(problem: sqlite3.OperationalError) -> str:
    match _code(problem):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return ": another process has it open for writing (see `fuser`): end that, and try again"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            return ": make the file and its directory writable"
        case sqlite3.SQLITE_FULL:
            return ": make room on the disk"
        case _:
            return ""


def _quoted(name: str) -> str:
    # `commit` is a word of SQL's own.
    return f'"{name}"'


_JSON = frozenset(("facts", "windows", "in_doubt"))


def _document(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(cleaned(value)).decode()


def _storable(value: object) -> object:
    """`value` as SQLite takes it: text in UTF-8, and integers of 64 bits."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return 2**63 - 1 if value > 0 else -(2**63)
    return value


def _fields(event: Event, *names: str) -> dict[str, Any]:
    return {name: getattr(event, name) for name in names}


def _as(row: type[Row], found: sqlite3.Row) -> Row | None:
    values: dict[str, Any] = dict(zip(found.keys(), found, strict=True))
    try:
        for name in _JSON & values.keys():
            values[name] = msgspec.json.decode(values[name])
        return msgspec.convert(values, row, strict=False)
    except UNDECODABLE:
        return None
