"""What is found in a home on arrival: workers of an earlier run that are alive, and the state it left.

The state is gone on from. Adopting the workers comes later; until then the honest answer is to refuse, to say which
they are, and how to end them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ..protocol import lease
from ..protocol.errors import NeverblinkError
from ..protocol.frame import decode_frame
from ..protocol.journal import Entry, RecordKind, decode_snapshot
from .home import Home
from .journal_reader import check_formats, read_segment, segments
from .process import alive
from .records import Worker

__all__ = [
    "HomeInUse",
    "Left",
    "Survivor",
    "journal_left",
    "refuse",
    "set_aside",
    "survivors",
    "sweep",
]


class Survivor(msgspec.Struct, frozen=True):
    """A worker of an earlier run that is alive."""

    worker: str
    pid: int
    leads: bool


class Left(msgspec.Struct, frozen=True):
    """Where the journal of an earlier run ends. `seq` is the last tick; `stopped`: the bot was stopped in order."""

    seq: int
    at: int
    """Wall ns of that frame's boundary."""
    stopped: bool

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        how = "was stopped" if self.stopped else "ended without being stopped"
        return f"{how} at tick {self.seq} ({when})"


class HomeInUse(NeverblinkError):
    """Workers of an earlier run are alive in the home."""

    def __init__(self, home: Path, found: list[Survivor]) -> None:
        who = ", ".join(
            f"{one.worker or 'a worker'} (pid {one.pid}{', it leads' if one.leads else ''})" for one in found
        )
        pids = " ".join(str(one.pid) for one in found)
        super().__init__(
            f"home {home}: workers of an earlier run are alive: {who}. They can't be taken over yet: end them with "
            f"`kill {pids}` and run `neverblink up` again, or use another home"
        )
        self.home = home
        self.survivors = found


def refuse(home: Home, known: Iterable[Worker]) -> None:
    """Raise `HomeInUse` when a bot cannot be started in the home. `known` are the workers that nobody saw end."""
    found = survivors(home, known)
    if found:
        raise HomeInUse(home.path, found)


def survivors(home: Home, known: Iterable[Worker]) -> list[Survivor]:
    """The workers of an earlier run that are alive: those that are known, and whoever has the lease."""
    holder = _holder(home.lease)
    found = [
        Survivor(one.worker, one.pid, holder is not None and one.pid == holder.pid)
        for one in known
        if alive(one.pid, one.started)
    ]
    if holder is not None and not any(one.leads for one in found):
        found.append(Survivor(holder.holder, holder.pid, True))
    return found


def journal_left(directory: Path) -> Left | None:
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


def set_aside(home: Home) -> Path:
    """Rename the journal, so that a new one begins; return what it is called now."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = home.path / f"journal.{stamp}"
    home.journal.rename(aside)
    home.journal.mkdir(mode=0o700)
    return aside


def sweep(run: Path) -> None:
    """Remove the sockets of workers that are gone."""
    for socket in run.glob("*.sock"):
        # What is no socket is not ours to remove: binding will say that it is in the way.
        if socket.is_socket():
            socket.unlink(missing_ok=True)


def _end_of(segment: Path) -> Left | None:
    left: Left | None = None
    frame: bytes | None = None
    for entry in read_segment(segment):
        if not isinstance(entry, Entry):
            continue
        if entry.kind is RecordKind.FRAME:
            frame = entry.payload
        elif entry.kind is RecordKind.SNAPSHOT and (copy := decode_snapshot(entry.payload)).number >= 0:
            left = Left(copy.seq, segment.stat().st_mtime_ns, False)
    if frame is None:
        return left
    last = decode_frame(frame)
    return Left(last.seq, last.timing.ended, last.kind == "stop")


def _holder(path: Path) -> lease.Holder | None:
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
