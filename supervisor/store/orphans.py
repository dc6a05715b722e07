"""Orphans: processes of a bot whose home is no longer at its path.

A home can be removed, replaced or moved under a living bot. Its lock and its lease went with it, so both are free in
the home that is at the path now. A second bot beside the first would trade twice: `up` refuses, lists the living
processes, and says how to end or rescue the bot.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from ...protocol.errors import NeverblinkError
from ..system.open_files import holders_of_removed, holds_any, lockers, where_is
from ..system.presence import marked
from ..system.process import alive, started_at
from ..system.process_group import end_group
from .history_db import HistoryDb, HistoryError
from .history_rows import WorkerRow
from .identity import id_of
from .state_dir import Home

__all__ = [
    "HomeOrphaned",
    "Orphan",
    "end_orphans",
    "files_of",
    "known_in",
    "orphans",
    "refuse_beside_orphans",
]

_ENDING_WITHIN = 1.0
_JOURNAL_WITHIN = 12.0
"""A leader that cannot write its journal tries again after 8 s at most."""
_LOOK_EVERY = 0.05


class Orphan(msgspec.Struct, frozen=True):
    """A process without its home; `home` is the home's new path, None when it was removed."""

    pid: int
    started: int
    role: str
    home: Path | None

    def __str__(self) -> str:
        return f"{self.role} pid {self.pid}"


class HomeOrphaned(NeverblinkError):
    """The bot is alive, and its home is no longer at its path."""

    def __init__(self, home: Home, found: list[Orphan], *, saved: bool = False) -> None:
        workers = [orphan for orphan in found if orphan.role == "worker"] or found
        named = ", ".join(map(str, found))
        moved = next((orphan.home for orphan in found if orphan.home is not None), None)
        if moved is not None:
            how, mend = "was moved away", f"Move {moved} back, or name it with --home {moved}"
        elif any(orphan.role == "supervisor" for orphan in found):
            how = "was removed or replaced"
            mend = (
                "Its supervisor makes the home again within seconds: then `neverblink status` shows the bot, and "
                "`neverblink down` stops it in order"
            )
        elif saved:
            how = "was removed or replaced"
            mend = (
                "Its state is in the home's journal again. `neverblink up --rescue` ends that process as a crash "
                "would, without on_stop, and goes on from its last tick"
            )
        else:
            how = "was removed or replaced"
            mend = (
                f"Its state is only in the memory of pid {workers[0].pid}: leave it alive until its log says that the "
                "journal is written again, and then run `neverblink up --rescue`"
            )
        self.problem = (
            f"it {how} while the bot lived, and the bot ticks on without it: {named}. A second bot must not run "
            f"beside it. {mend}"
        )
        super().__init__(f"home {home.path}: {self.problem}")
        self.home = home.path
        self.pids = [orphan.pid for orphan in found]
        self.saved = saved


def orphans(home: Home) -> list[Orphan]:
    """The living processes of an earlier home at this path."""
    known = {(process.pid, process.started) for process in known_in(home)}
    id = id_of(home)
    # The bot may have been started by a link to the home, and this command not, or the other way round.
    paths = {home.path, home.path.resolve()}
    found = {
        process.pid: Orphan(process.pid, process.started, process.role, None)
        for path in paths
        for process in marked(path)
        if not id or process.home != id
    }
    # For processes whose mark is not visible: another network namespace, or a worker of an earlier release.
    lead = lockers()
    for pid, file in holders_of_removed(
        [path / file.name for path in paths for file in (home.lock, home.lease)]
    ):
        role = "supervisor" if file.name == home.lock.name else "worker"
        if pid == os.getpid() or (role == "worker" and pid not in lead):
            continue
        if (started := started_at(pid)) is not None:
            found.setdefault(pid, Orphan(pid, started, role, None))
    return [
        msgspec.structs.replace(process, home=_moved_to(process, home))
        for process in found.values()
        if alive(process.pid, process.started) and not _belongs(process, home, known)
    ]


def refuse_beside_orphans(home: Home, *, rescue: bool = False) -> list[Orphan]:
    """Raise `HomeOrphaned` when the bot of another home at this path is alive.

    With `rescue`, return its workers instead, as long as their state is in this home's journal, to be ended.
    """
    found = orphans(home)
    until = time.monotonic() + _ENDING_WITHIN
    while found and time.monotonic() < until:
        # A process that is ending closes its files before its mark.
        time.sleep(_LOOK_EVERY)
        found = orphans(home)
    if not found:
        return []
    saved = _is_saved(home, found)
    if rescue and saved and all(orphan.role == "worker" and orphan.home is None for orphan in found):
        return found
    raise HomeOrphaned(home, found, saved=saved)


def end_orphans(found: Iterable[Orphan]) -> None:
    """Kill them and the processes they started, and wait until they have ended."""
    for orphan in found:
        with suppress(ProcessLookupError):
            process = os.pidfd_open(orphan.pid)
            try:
                if alive(orphan.pid, orphan.started):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    select.select([process], [], [])
            finally:
                os.close(process)
        end_group(orphan.pid, orphan.started)


def known_in(home: Home) -> list[WorkerRow]:
    """The workers without a recorded end in the home's history, if it can be read."""
    known: list[WorkerRow] = []
    with suppress(HistoryError), HistoryDb.open(home.database, "", read_only=True) as history:
        for bot in history.bots():
            with HistoryDb.open(home.database, bot, read_only=True) as of_bot:
                known += of_bot.remaining()
    return known


def files_of(home: Home) -> list[Path]:
    """Files and directories of the home. Each of its processes has one of them open; the supervisor has the lock."""
    found = [home.lock, home.lease]
    for directory in (home.logs, home.releases):
        with suppress(OSError):
            found += directory.iterdir()
    return found


def _belongs(orphan: Orphan, home: Home, known: set[tuple[int, int]]) -> bool:
    """Whether the process belongs to the home at the path now, although it does not have its id in its mark.

    A worker whose home was removed restores its log, journal and lease in the next one. So a worker's open files count
    only if the history knows it.
    """
    if orphan.role == "supervisor":
        return holds_any(orphan.pid, [home.lock])
    return (orphan.pid, orphan.started) in known and holds_any(orphan.pid, files_of(home))


def _is_saved(home: Home, found: list[Orphan]) -> bool:
    """Whether one of them writes this home's journal; waits until it has had the time to begin."""
    if not any(orphan.role == "worker" and orphan.home is None for orphan in found):
        return False
    until = time.monotonic() + _JOURNAL_WITHIN
    while True:
        segments = list(home.journal.glob("*.journal"))
        if any(holds_any(orphan.pid, segments) for orphan in found):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_EVERY)


def _moved_to(orphan: Orphan, home: Home) -> Path | None:
    file = where_is(orphan.pid, "lock" if orphan.role == "supervisor" else "lease")
    return file.parent if file is not None and file.parent != home.path else None
