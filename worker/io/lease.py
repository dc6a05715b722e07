"""The lease: the right to tick, arbitrated by the kernel.

The lease is an exclusive POSIX record lock (`fcntl.lockf`) on one byte of a file. The file also has the process that
took it last, and its epoch. The process that holds the lock leads. That guarantees three things that messages cannot:

- A dead process holds no lock. The kernel releases it in the instant the process ends, however it ends, before its
  parent learns of it. No time-out decides that a process is dead, so no clock is involved.
- A live process is never overruled. A worker that is stopped, swapped out or slow keeps the lease until it is killed,
  so two workers never tick at once because one of them was believed dead.
- Any process can ask for the holder (`holder`), and the answer cannot be stale.

Epochs only grow: `take` reads the file's epoch *after* it has the lock, adds one, and writes it back before
it returns. The caller passes the highest epoch that it knows as `at_least`, so no epoch repeats when the file was lost
or restored from an old copy.

Rejected alternatives:

`flock`
    belongs to the open file description, which a forked child shares. A bot that forks (multiprocessing, a
    shell command, a library's helper) leaves children behind that keep the lease alive after the bot has been
    killed, and then no worker can lead. A record lock belongs to the process: a child does not have it and cannot
    release it.

OFD locks (`F_OFD_SETLK`)
    have the same problem: they belong to the open file description. They are only used to *ask*: `F_OFD_GETLK` also
    reports this process's own record lock, which `F_GETLK` does not, so `held` is the kernel's answer and not a
    variable.

A pid file
    can be stale, and its pid can belong to another process by now. The pid and start time in the lease file are for
    people and for finding the process; they decide nothing.

A lease with a time limit
    needs clocks that agree and a leader that checks its own in time. It is needed between hosts, not on one.

The trap: a process loses a record lock when it closes *any* descriptor of the file, even one that other code opened
only to read it. So a `Lease` opens its file once and keeps it open, a process makes one `Lease` for a path, and all
other code uses that. If the lock is lost anyway, `held` is False, and a leader asks before each turn. That is one
system call, and nothing cheaper is reliable: a variable would be wrong after the loss, a look at the descriptor
(`fstat`) costs as much and does not show the lock, and asking less often would leave turns that two workers run. In a
forked child the kernel's answer is the parent's; Python reports the fork (`os.register_at_fork`), so pids need not be
compared each time.

The file can be removed or replaced under a live leader, and a process that opens the path then finds a free lease. So
`take` locks the file that it has open and, if another file is at the path now, that one too; and a leader checks the
path regularly and locks both (`restore`).

The file must be on a local disk: over NFS, record locks depend on a server and its clock.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from weakref import WeakMethod

from ...protocol import lease as layout
from ...protocol.errors import NeverblinkError
from ...protocol.lease import Holder, LeaseCorrupt

__all__ = ["Holder", "Lease", "LeaseCorrupt", "LeaseError"]


_QUERY = layout.lock_query()


class LeaseError(NeverblinkError):
    """The lease cannot be used; `path` is its file."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(f"lease {path}: {message}")
        self.path = path


class Lease:
    """The lease in the file `path`, which is created if missing. Make one for the whole life of the process.

    Raises `LeaseError` when the file can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self._fd = self._open()
        except OSError as problem:
            raise LeaseError(f"cannot be opened: {problem.strerror}", self.path) from None
        self._file = _file_of(self._fd)
        """Device and inode of the open file."""
        self._removed: list[int] = []
        """Descriptors of files that were at the path before. While we lead we hold their locks too."""
        self._identity = (0, 0)
        self._ours = b""
        """The kernel's answer when this process has the lock."""
        self._taken = False
        """Whether it was taken and not dropped since. Only the kernel knows whether it is still held."""
        self._prepared: tuple[int, str, bytes] = (0, "", b"")
        """An epoch, its holder, and the record of both for the file."""
        self._read_last: tuple[bytes, Holder | None] = (b"", None)
        """The content of the file when it was last read, and its decoded record."""
        self._myself()
        ours = WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: (forked := ours()) and forked())

    @property
    def held(self) -> bool:
        """Whether this process holds the lease, according to the kernel. False in a forked child."""
        if self._fd < 0:
            return False
        answer = fcntl.fcntl(self._fd, layout.OFD_GETLK, _QUERY)
        if answer == self._ours:
            return True
        if layout.lock_owner(answer) != os.getpid():
            return False
        self._ours = answer
        return True

    def take(self, holder: str, at_least: int | None = None) -> int | None:
        """Take the lease if it is free, without waiting; return its new epoch, None when another process holds it.

        The epoch is one more than the file's and `at_least`, the highest that the caller knows. `holder` is the
        worker's id, at most 64 printable ASCII characters. Raises `LeaseError` when this process has the lease already,
        and `LeaseCorrupt` when the file is unreadable and `at_least` is None; the lease is free then.
        """
        if self._taken and self.held:
            raise LeaseError("taken twice by one process: drop it first", self.path)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, layout.LOCK_AT)
        except (BlockingIOError, PermissionError):
            return None
        if not self._is_in_place() and not self._lock_in_place():
            self.drop()
            return None
        try:
            epoch = max(self._last_epoch(at_least), at_least or 0) + 1
            record = self._record(epoch, holder)
            written = os.pwrite(self._fd, record, layout.slot_of(epoch))
            if written != len(record):
                raise LeaseError(
                    f"only {written} of {len(record)} bytes could be written: is the disk full?", self.path
                )
        except OSError as problem:
            self.drop()
            raise LeaseError(f"the new epoch cannot be written: {problem.strerror}", self.path) from None
        except BaseException:
            self.drop()
            raise
        self._taken = True
        return epoch

    def prepare(self, holder: str, epoch: int) -> None:
        """Prepare `take` for the case that `epoch` will be the next, to make it faster. Changes nothing."""
        with suppress(LeaseCorrupt, OSError):
            self._last()
        self._record(epoch, holder)

    def restore(self) -> bool:
        """Lock the file at the path too, if the held file was removed or replaced.

        Otherwise a process that opens the path would find a free lease. Returns whether it was locked.
        """
        if not self.held or self._is_in_place():
            return False
        return self._lock_in_place()

    def drop(self) -> None:
        """Release the lease. Harmless when this process does not hold it."""
        self._taken = False
        if self._fd >= 0:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, layout.LOCK_AT)
        while self._removed:
            os.close(self._removed.pop())

    def epoch(self) -> int:
        """The highest epoch in the file, 0 when the lease was never taken. Raises `LeaseCorrupt`."""
        last = self._last()
        return last.epoch if last else 0

    def holder(self) -> Holder | None:
        """The process that holds the lease now, None when it is free.

        The pid comes from the kernel, the rest from the file. If the file has another process (the holder is just
        taking the lease, or the record is damaged), epoch and start time are 0 and the name is "".
        """
        pid = self._owner()
        if pid is None:
            return None
        try:
            last = self._last()
        except LeaseCorrupt:
            last = None
        # 0: a process of another pid namespace, whose pid is unknown here. Only the file can name it.
        if last is not None and pid in (last.pid, 0):
            return last
        return Holder(0, pid, 0, "")

    def close(self) -> None:
        """Close the file, which also releases the lease."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        while self._removed:
            os.close(self._removed.pop())

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _is_in_place(self) -> bool:
        """Whether the open file is the one at the path."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._file

    def _lock_in_place(self) -> bool:
        """Lock the file at the path in addition to the open one; return whether that succeeded.

        A missing directory does no harm: no other worker can open a lease there.
        """
        try:
            fd = self._open()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, layout.LOCK_AT)
            ours, theirs = os.pread(self._fd, layout.FILE_SIZE, 0), os.pread(fd, layout.FILE_SIZE, 0)
            if _epoch_in(ours) > _epoch_in(theirs):
                os.pwrite(fd, ours, 0)
        except OSError:
            os.close(fd)
            return False
        self._removed.append(self._fd)
        self._fd, self._file, self._ours = fd, _file_of(fd), b""
        return True

    def _forked(self) -> None:
        # In the child: the parent's lock is not the child's.
        self._ours = b""
        self._prepared = 0, "", b""

    def _myself(self) -> tuple[int, int]:
        # Read once, because `take` is part of a handoff's blackout. Another pid means that this process was forked.
        if self._identity[0] != os.getpid():
            self._identity = os.getpid(), layout.started_of(Path("/proc/self/stat").read_bytes())
        return self._identity

    def _record(self, epoch: int, holder: str) -> bytes:
        if self._prepared[:2] != (epoch, holder):
            record = layout.encode_record(Holder(epoch, *self._myself(), holder))
            self._prepared = epoch, holder, record
        return self._prepared[2]

    def _owner(self) -> int | None:
        return layout.lock_owner(fcntl.fcntl(self._fd, layout.OFD_GETLK, _QUERY))

    def _last(self) -> Holder | None:
        """The process that took the lease last, according to the file. Raises `LeaseCorrupt`."""
        data = os.pread(self._fd, layout.FILE_SIZE, 0)
        # A follower has mostly read the same bytes when it connected to its leader.
        if data != self._read_last[0]:
            self._read_last = data, layout.decode_file(data)
        return self._read_last[1]

    def _last_epoch(self, at_least: int | None) -> int:
        try:
            return self.epoch()
        except LeaseCorrupt:
            if at_least is None:
                raise
            return 0


def _file_of(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _epoch_in(data: bytes) -> int:
    try:
        last = layout.decode_file(data)
    except LeaseCorrupt:
        return 0
    return last.epoch if last is not None else 0
