"""What is found in a home on arrival: workers of an earlier run that are alive, and the state it left.

The workers are adopted (see `adoption`); where none is left, the state is gone on from.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ...protocol import lease
from ...protocol.errors import NeverblinkError
from ...protocol.frame import decode_frame
from ...protocol.journal import Entry, RecordKind, decode_snapshot
from ..audit.reader import check_formats, read_segment, segments
from ..store.history_rows import WorkerRow
from ..store.orphans import files_of, known_in
from ..store.state_dir import Home
from ..system.open_files import holds_any
from ..system.process import alive

__all__ = [
    "HomeInUse",
    "JournalEnd",
    "Survivor",
    "alive_in",
    "foreign",
    "holder_of",
    "journal_left",
    "last_leader",
    "named",
    "newest_worker",
    "set_aside",
    "survivors",
    "sweep",
]


class Survivor(msgspec.Struct, frozen=True):
    """A worker of an earlier run that is alive. `release` is "" when only the lease knows of it, `since` is 0 then.

    `leads`: it has the lease, by the kernel's word.
    """

    worker: str
    pid: int
    started: int
    leads: bool
    log: Path
    release: str = ""
    since: int = 0


class JournalEnd(msgspec.Struct, frozen=True):
    """Where the journal of an earlier run ends. `seq` is the last tick; `stopped`: the bot was stopped in order."""

    seq: int
    at: int
    """Wall ns of that frame's boundary."""
    stopped: bool
    number: int
    """The frame's own."""

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        how = "was stopped" if self.stopped else "ended without being stopped"
        return f"{how} at tick {self.seq} ({when})"


class HomeInUse(NeverblinkError):
    """Workers of an earlier run are alive in the home, and in the way of what was asked; `mend` says what to do."""

    def __init__(self, home: Path, found: list[Survivor], mend: str) -> None:
        super().__init__(f"home {home}: workers of an earlier run are alive: {named(found)}. {mend}")
        self.home = home
        self.survivors = found


def survivors(home: Home, known: Iterable[WorkerRow]) -> list[Survivor]:
    """The workers of this home's earlier run that are alive: those that are known, and the one that has the lease.

    That a process has the pid and start time of a known worker is no proof: the database may have been copied with the
    home, and the worker be another home's. One of ours has files of this home open.
    """
    holder = holder_of(home.lease)
    ours = files_of(home)
    found = [
        Survivor(
            one.worker,
            one.pid,
            one.started,
            holder is not None and one.pid == holder.pid,
            Path(one.log),
            one.release,
            one.begun,
        )
        for one in known
        if alive(one.pid, one.started)
        and ((holder is not None and one.pid == holder.pid) or holds_any(one.pid, ours))
    ]
    if holder is not None and not any(one.leads for one in found):
        log = home.logs / f"{holder.holder}.log"
        found.append(Survivor(holder.holder, holder.pid, holder.started, True, log))
    return found


def foreign(home: Home, known: Iterable[WorkerRow]) -> list[WorkerRow]:
    """The known workers that are alive and another home's: this home's database was copied from there."""
    ours = files_of(home)
    return [one for one in known if alive(one.pid, one.started) and not holds_any(one.pid, ours)]


def alive_in(home: Home) -> list[Survivor]:
    """The workers that are alive in a home, as far as anybody can tell without owning it."""
    return survivors(home, known_in(home))


def named(found: Iterable[Survivor]) -> str:
    """The workers in one line."""
    return ", ".join(
        f"{one.worker or 'a worker'} (pid {one.pid}{', it leads' if one.leads else ''})" for one in found
    )


def last_leader(home: Home) -> lease.Holder | None:
    """Who took the lease last, dead or alive; None when nobody did, or nobody can tell."""
    try:
        return lease.decode_file(home.lease.read_bytes())
    except (OSError, lease.LeaseCorrupt):
        return None


def journal_left(directory: Path) -> JournalEnd | None:
    """Where the journal in `directory` ends, None when there is no frame in it.

    Raises `JournalError`, and `JournalTooNew` when any of it was written by a later release.
    """
    found = segments(directory)
    check_formats(directory)
    for _, segment in reversed(found):
        left = _end_of(segment)
        if left is not None:
            return left
    return None


def newest_worker(home: Home) -> int:
    """The highest number of a worker that left a log, or took the lease last; 0 when there was none."""
    names = [log.stem for log in home.logs.glob("w*.log")]
    last = last_leader(home)
    names += [last.holder] if last is not None else []
    return max((int(name[1:]) for name in names if name[:1] == "w" and name[1:].isdecimal()), default=0)


def set_aside(home: Home) -> Path:
    """Rename the journal, so that a new one begins; return what it is called now."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = home.path / f"journal.{stamp}"
    home.journal.rename(aside)
    home.journal.mkdir(mode=0o700)
    return aside


def sweep(run: Path, living: Iterable[str] = ()) -> None:
    """Remove the sockets of workers that are gone, which are all but those `living`."""
    kept = set(living)
    for socket in run.glob("*.sock"):
        # What is no socket is not ours to remove: binding will say that it is in the way.
        if socket.name.partition(".")[0] not in kept and socket.is_socket():
            socket.unlink(missing_ok=True)


def _end_of(segment: Path) -> JournalEnd | None:
    left: JournalEnd | None = None
    frame: bytes | None = None
    for entry in read_segment(segment):
        if not isinstance(entry, Entry):
            continue
        if entry.kind is RecordKind.FRAME:
            frame = entry.payload
        elif entry.kind is RecordKind.SNAPSHOT and (copy := decode_snapshot(entry.payload)).number >= 0:
            left = JournalEnd(copy.seq, segment.stat().st_mtime_ns, False, copy.number)
    if frame is None:
        return left
    last = decode_frame(frame)
    return JournalEnd(last.seq, last.timing.ended, last.kind == "stop", last.number)


def holder_of(path: Path) -> lease.Holder | None:
    """Who has the lease now. (We have no lock on the file, so that closing it again costs nobody anything.)"""
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
