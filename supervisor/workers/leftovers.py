"""What an earlier run left in a home: where its journal ends, the number of its newest worker, old sockets.

See `store.living_workers` for its living workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ...protocol.frame import decode_frame
from ...protocol.journal import Entry, RecordKind, decode_snapshot
from ..audit.reader import check_formats, read_segment, segments
from ..store.living_workers import last_leader
from ..store.state_dir import Home

__all__ = [
    "JournalEnd",
    "journal_left",
    "newest_worker",
    "set_aside",
    "sweep",
]


class JournalEnd(msgspec.Struct, frozen=True):
    """Where the journal of an earlier run ends. `seq` is the last tick; `stopped`: the bot was stopped by command."""

    seq: int
    at: int
    """Wall ns of that frame's boundary."""
    stopped: bool
    number: int
    """The last frame's number."""

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        how = "was stopped" if self.stopped else "ended without being stopped"
        return f"{how} at tick {self.seq} ({when})"


def journal_left(directory: Path) -> JournalEnd | None:
    """Where the journal in `directory` ends, None when it has no frame.

    Raises `JournalError`, and `JournalTooNew` when a later release wrote any of it.
    """
    found = segments(directory)
    check_formats(directory)
    for _, segment in reversed(found):
        left = _end_of(segment)
        if left is not None:
            return left
    return None


def newest_worker(home: Home) -> int:
    """The highest number of a worker that left a log or took the lease last, 0 for none."""
    names = [log.stem for log in home.logs.glob("w*.log")]
    last = last_leader(home)
    names += [last.holder] if last is not None else []
    return max((int(name[1:]) for name in names if name[:1] == "w" and name[1:].isdecimal()), default=0)


def set_aside(home: Home) -> Path:
    """Rename the journal, so that a new one begins; return its new path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = home.path / f"journal.{stamp}"
    home.journal.rename(aside)
    home.journal.mkdir(mode=0o700)
    return aside


def sweep(run: Path, living: Iterable[str] = ()) -> None:
    """Remove the sockets of all workers except those `living`."""
    kept = set(living)
    for socket in run.glob("*.sock"):
        if socket.name.startswith("feed-"):
            # A feed may be alive without a worker; its next process replaces the socket.
            continue
        # Remove only sockets. With anything else binding fails, and the error names it.
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
