"""The living workers of a home: those that its history knows, and the one that holds the lease.

A new supervisor adopts them; a client lists them when no supervisor answers.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ...protocol import lease
from ...protocol.errors import NeverblinkError
from ..system.open_files import holds_any
from ..system.process import alive
from .history_rows import WorkerRow
from .orphans import files_of, known_in
from .state_dir import Home

__all__ = [
    "HomeInUse",
    "Survivor",
    "alive_in",
    "foreign",
    "holder_of",
    "last_leader",
    "named",
    "survivors",
]


class Survivor(msgspec.Struct, frozen=True):
    """A living worker of an earlier run. `release` is "" and `since` 0 when only the lease names it.

    `leads`: it holds the lease, according to the kernel.
    """

    worker: str
    pid: int
    started: int
    leads: bool
    log: Path
    release: str = ""
    since: int = 0


class HomeInUse(NeverblinkError):
    """Living workers of an earlier run prevent what was requested; `mend` says what to do."""

    def __init__(self, home: Path, found: list[Survivor], mend: str) -> None:
        super().__init__(f"home {home}: workers of an earlier run are alive: {named(found)}. {mend}")
        self.home = home
        self.survivors = found


def survivors(home: Home, known: Iterable[WorkerRow]) -> list[Survivor]:
    """The living workers of this home's earlier run: those in the history, and the holder of the lease.

    Pid and start time of a known worker are not enough: the database may have been copied with the home, and the worker
    may belong to another home. A worker of this home has files of it open.
    """
    holder = holder_of(home.lease)
    ours = files_of(home)
    found = [
        Survivor(
            row.worker,
            row.pid,
            row.started,
            holder is not None and row.pid == holder.pid,
            Path(row.log),
            row.release,
            row.begun,
        )
        for row in known
        if alive(row.pid, row.started)
        and ((holder is not None and row.pid == holder.pid) or holds_any(row.pid, ours))
    ]
    if holder is not None and not any(row.leads for row in found):
        log = home.logs / f"{holder.holder}.log"
        found.append(Survivor(holder.holder, holder.pid, holder.started, True, log))
    return found


def foreign(home: Home, known: Iterable[WorkerRow]) -> list[WorkerRow]:
    """The known workers that are alive and belong to another home, from which this home's database was copied."""
    ours = files_of(home)
    return [row for row in known if alive(row.pid, row.started) and not holds_any(row.pid, ours)]


def alive_in(home: Home) -> list[Survivor]:
    """The living workers of a home, as far as they can be found without its lock."""
    return survivors(home, known_in(home))


def named(found: Iterable[Survivor]) -> str:
    """The workers in one line."""
    return ", ".join(
        f"{worker.worker or 'a worker'} (pid {worker.pid}{', it leads' if worker.leads else ''})"
        for worker in found
    )


def last_leader(home: Home) -> lease.Holder | None:
    """The last holder of the lease, dead or alive; None when there was none, or the file cannot be read."""
    try:
        return lease.decode_file(home.lease.read_bytes())
    except (OSError, lease.LeaseCorrupt):
        return None


def holder_of(path: Path) -> lease.Holder | None:
    """The process that holds the lease now, None when there is none.

    This process has no lock on the file, so closing it releases none.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pid = lease.lock_owner(fcntl.fcntl(file, lease.OFD_GETLK, lease.lock_query()))
        if pid is None:
            return None
        data = os.pread(file, lease.FILE_SIZE, 0)
    finally:
        os.close(file)
    try:
        last = lease.decode_file(data)
    except lease.LeaseCorrupt:
        last = None
    return last if last is not None and pid in (last.pid, 0) else lease.Holder(0, pid, 0, "")
