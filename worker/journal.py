"""The leader's journal: the state stream as a file.

The leader appends each frame before it says that the turn is done, and the record of a decision before its body runs.
One append is one write to a file opened for appending, so what a dead process left is whole records and at most one
torn one at the end. The write reaches the page cache, which survives any process; `durability` says when it is also
forced to the disk: "process" leaves that to the kernel, "interval" does it once a second beside the loop, "always"
before the turn ends.

Workers take turns at one file, never two at a time: only who holds the lease appends. A new leader continues where
the old one ended, after checking that this is where it has followed to; if it is not, it reads the rest first.

Whatever the disk does comes out as a `JournalError`, which names the file and the mend. An append that failed left
nothing behind: what got written of it is cut off again, at once or, if even that fails, before the next append.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Protocol

from ..protocol.journal import (
    HEADER_SIZE,
    MAX_RECORD,
    Entry,
    JournalError,
    Position,
    RecordKind,
    Torn,
    pack_header,
    pack_record,
    scan,
    unpack_header,
)

__all__ = ["Journal", "JournalFile", "NoJournal"]


class Journal(Protocol):
    """Where a leader writes and a successor reads."""

    def newest(self) -> int: ...
    def begin(self, records: list[tuple[RecordKind, bytes]]) -> Position: ...
    def attach(self, position: Position) -> bool: ...
    def read_on(self, position: Position) -> Iterator[Entry]: ...
    def mend(self) -> None: ...
    def append(self, kind: RecordKind, payload: bytes) -> Position: ...
    def close(self) -> None: ...


class NoJournal:
    """For a bot that runs alone: nothing is written, and there is nobody to read it."""

    def newest(self) -> int:
        return 0

    def begin(self, records: list[tuple[RecordKind, bytes]]) -> Position:
        return _NOWHERE

    def attach(self, position: Position) -> bool:
        return True

    def read_on(self, position: Position) -> Iterator[Entry]:
        return iter(())

    def mend(self) -> None:
        pass

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        return _NOWHERE

    def close(self) -> None:
        pass


_NOWHERE = Position(0, 0)
_SYNC_EVERY = 1.0
_UNREAD = -1


class JournalFile:
    """Segments in `directory`, named by their number. Every method raises `JournalError` and nothing else."""

    def __init__(self, directory: Path, durability: str) -> None:
        self._directory = directory
        self._durability = durability
        self._fd = -1
        self._segment = 0
        self._file = self._path(0)
        self._offset = 0
        self._torn = False
        """There may be something after `_offset` that is not to stay."""
        self._whole = _UNREAD
        """Where `read_on` found the end of the last whole record."""
        self._syncer: _Syncer | None = None

    def newest(self) -> int:
        """The number of the newest segment, 0 when nothing was ever written."""
        return self._newest()

    def begin(self, records: list[tuple[RecordKind, bytes]]) -> Position:
        """Start a segment that opens with `records` (a snapshot and its rows). Needs the lease.

        The segment has its name only once all of it is written, so that a successor never finds half a snapshot.
        """
        segment = self._newest() + 1
        path = self._path(segment)
        for _, payload in records:
            _check_size(path, payload)
        body = b"".join(pack_record(kind, payload) for kind, payload in records)
        unfinished = path.with_name(f"{path.name}.new")
        try:
            fd = os.open(unfinished, _APPENDING | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _write_all(fd, pack_header(segment) + body)
                if self._durability != "process":
                    os.fdatasync(fd)
                unfinished.rename(path)
                if self._durability != "process":
                    _sync_directory(self._directory)
            except OSError:
                os.close(fd)
                unfinished.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                raise
        except OSError as problem:
            _fail(path, "cannot be begun", problem)
        self._use(fd, segment, HEADER_SIZE + len(body))
        return Position(segment, self._offset)

    def attach(self, position: Position) -> bool:
        """Make ready to append; return whether the journal ends at `position`."""
        self._open(position.segment)
        self._torn = False
        self._offset = self._size()
        return self._offset == position.offset and self._newest() == position.segment

    def read_on(self, position: Position) -> Iterator[Entry]:
        """Yield the whole records after `position`, to the end of the newest segment, and make ready to `mend`.

        What a process that was killed leaves behind (half a record, or zeros after a power cut) ends a segment. Any
        other thing that is no record is damage, and cutting it off could cut off more than it: that is an error.
        """
        self._whole = _UNREAD
        return self._entries(position.segment, max(position.offset, HEADER_SIZE))

    def mend(self) -> None:
        """Cut off what a dead leader left half written, as found by `read_on`. Needs the lease."""
        if self._whole == _UNREAD:
            raise JournalError(str(self._file), "it was not read to its end: read on before mending it")
        try:
            if os.fstat(self._fd).st_size != self._whole:
                os.ftruncate(self._fd, self._whole)
        except OSError as problem:
            _fail(self._file, "its torn end cannot be cut off", problem)
        self._offset = self._whole
        self._torn = False

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        """Append one record; return where it ends. When it could not be written whole, none of it is there."""
        if self._fd < 0:
            raise JournalError(str(self._file), "it is not open for writing: attach to it first")
        _check_size(self._file, payload)
        if self._syncer is not None and self._syncer.problem is not None:
            _fail(self._file, "cannot be forced to the disk", self._syncer.problem)
        record = pack_record(kind, payload)
        try:
            if self._durability == "interval" and self._syncer is None:
                self._syncer = _Syncer(self._fd)
            if self._torn:
                os.ftruncate(self._fd, self._offset)
            self._torn = True
            _write_all(self._fd, record)
            if self._durability == "always":
                os.fdatasync(self._fd)
        except OSError as problem:
            self._cut_back()
            _fail(self._file, "cannot be written", problem)
        self._torn = False
        self._offset += len(record)
        if self._syncer is not None:
            self._syncer.written = True
        return Position(self._segment, self._offset)

    def close(self) -> None:
        """Force to the disk what `durability` promises to, and close the file. Harmless when it is closed."""
        fd, self._fd = self._fd, -1
        try:
            self._stop_syncer()
        finally:
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError as problem:
                    _fail(self._file, "cannot be closed", problem)

    # parts

    def _entries(self, segment: int, offset: int) -> Iterator[Entry]:
        while True:
            path = self._path(segment)
            data = self._read(path, segment, offset)
            whole = offset
            for found in scan(data, 0):
                if isinstance(found, Torn):
                    _must_be_a_tail(path, found, data, offset)
                    break
                whole = offset + found.end
                yield Entry(found.kind, found.payload, whole)
            if self._newest() == segment:
                self._open(segment)
                self._whole = whole
                return
            segment, offset = segment + 1, HEADER_SIZE

    def _read(self, path: Path, segment: int, offset: int) -> bytes:
        """Return what is in a segment from `offset` on."""
        try:
            with path.open("rb") as file:
                told = unpack_header(file.read(HEADER_SIZE), str(path))
                size = os.fstat(file.fileno()).st_size
                file.seek(offset)
                data = file.read()
        except OSError as problem:
            _fail(path, "cannot be read", problem)
        if told != segment:
            raise JournalError(
                str(path), f"it says that it is segment {told}: give it back the name it was written under"
            )
        if size < offset:
            raise JournalError(
                str(path),
                f"it ends at byte {size}, but was followed to byte {offset} already: it was cut or replaced; "
                "restore it, or set the journal aside",
            )
        return data

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:08d}.journal"

    def _newest(self) -> int:
        """The number of the newest segment, 0 without any."""
        try:
            names = os.listdir(self._directory)
        except OSError as problem:
            _fail(self._directory, "cannot be looked into", problem)
        stems = (name.removesuffix(".journal") for name in names if name.endswith(".journal"))
        return max((int(stem) for stem in stems if stem.isdecimal()), default=0)

    def _size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as problem:
            _fail(self._file, "cannot be looked at", problem)

    def _open(self, segment: int) -> None:
        if self._fd >= 0 and segment == self._segment:
            return
        path = self._path(segment)
        try:
            fd = os.open(path, _APPENDING)
        except OSError as problem:
            _fail(path, "cannot be opened", problem)
        self._use(fd, segment, 0)

    def _use(self, fd: int, segment: int, offset: int) -> None:
        """Append to `fd` from now on."""
        before, self._fd = self._fd, fd
        self._segment = segment
        self._offset = offset
        self._torn = False
        self._whole = _UNREAD
        try:
            self._stop_syncer()
        finally:
            self._file = self._path(segment)
            if before >= 0:
                os.close(before)

    def _stop_syncer(self) -> None:
        syncer, self._syncer = self._syncer, None
        if syncer is None:
            return
        syncer.stop()
        if syncer.problem is not None:
            _fail(self._file, "cannot be forced to the disk", syncer.problem)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._offset)
        except OSError:
            return  # `_torn` stays set: tried again before the next append
        self._torn = False


class _Syncer:
    """Forces one descriptor to the disk once a second, in a thread of its own, as long as something is written.

    It has a descriptor of its own, so that whoever writes may close theirs at any time.
    """

    def __init__(self, fd: int) -> None:
        self.written = False
        self.problem: OSError | None = None
        self._fd = os.dup(fd)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neverblink-journal", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as problem:
            os.close(self._fd)
            raise OSError(errno.EAGAIN, str(problem)) from None

    def stop(self) -> None:
        """Force the last of it, and end."""
        self._ending.set()
        self._thread.join()
        os.close(self._fd)

    def _run(self) -> None:
        while self.problem is None:
            last = self._ending.wait(_SYNC_EVERY)
            if self.written:
                # Cleared before, not after: what is written meanwhile is the next round's.
                self.written = False
                try:
                    os.fdatasync(self._fd)
                except OSError as problem:
                    self.problem = problem
            if last:
                return


_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC

_MENDS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "this user's quota is used up: raise it, or free some space",
    errno.EFBIG: "it is as large as a file may be here: raise the limit (ulimit -f)",
    errno.EACCES: "no permission: give this user the right to read and write it",
    errno.EPERM: "no permission: give this user the right to read and write it",
    errno.EROFS: "its file system is read-only: mount it writable, or move the home",
    errno.ENOENT: "it is not there: restore it, or start with an empty journal",
    errno.EMFILE: "this process has no descriptor left: find what keeps files open, or raise the limit (ulimit -n)",
    errno.EIO: "the disk does not answer as it should: look into the kernel's log",
}


def _fail(path: Path, what: str, problem: OSError) -> NoReturn:
    """Raise the error for what the operating system said."""
    mend = _MENDS.get(problem.errno or 0)
    said = problem.strerror or str(problem)
    raise JournalError(str(path), f"{what}: {mend}" if mend else f"{what} ({said})") from None


def _write_all(fd: int, data: bytes) -> None:
    """Write `data`, in one write where the kernel lets us; what is left of a short one says why it was short."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def _check_size(path: Path, payload: bytes) -> None:
    if len(payload) > MAX_RECORD:
        raise JournalError(
            str(path),
            f"a record of {len(payload)} bytes, at most {MAX_RECORD} can be read back: "
            "keep what is large in a Table, which travels by rows",
        )


def _must_be_a_tail(path: Path, torn: Torn, data: bytes, base: int) -> None:
    zeros = data.count(0, torn.offset) == len(data) - torn.offset
    if zeros or torn.problem.endswith("cut off"):
        return
    raise JournalError(
        str(path),
        f"damaged at byte {base + torn.offset} ({torn.problem}), which no process that was killed leaves behind: "
        "restore the file, or set the journal aside",
    )


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
