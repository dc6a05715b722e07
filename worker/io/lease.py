"""The lease: the right to tick, arbitrated by the kernel.

The lease is an exclusive POSIX record lock (`fcntl.lockf`) on one byte of a file, and the file also says who
took it last and under which epoch. The process that holds the lock leads. That gives three things no message can:

- A dead process holds no lock. The kernel releases it in the instant the process ends, however it ends, before its
  parent learns of it. No time-out decides that a process is dead, so no clock is involved.
- A live process is never overruled. A worker that is stopped, swapped out or slow keeps the lease until it is killed,
  and so two workers never tick at once because one of them was thought gone.
- Anyone can ask who holds it (`holder`), and the answer cannot be stale.

Epochs only grow: `take` reads the file's epoch *after* it has the lock, adds one, and writes it back before
it returns. The caller passes the highest epoch it has heard of as `at_least`, so a file that was lost, or
restored from an old copy, cannot make an epoch come twice.

What was rejected, and why:

`flock`
    belongs to the open file description, which a forked child shares. A bot that forks (multiprocessing, a
    shell command, a library's helper) leaves children behind that keep the lease alive after the bot has been
    killed, and then no worker can lead. A record lock belongs to the process: no child has it, none can lose it
    for us.

OFD locks (`F_OFD_SETLK`)
    the same trouble: owned by the open file description. We only *ask* with them: `F_OFD_GETLK` reports our
    own record lock as well, where plain `F_GETLK` is blind to it, so `held` is what the kernel says and not
    what we remember.

A pid file
    can be stale, and a pid can be another process by now. The file's pid and start time are for people and
    for finding the process; they decide nothing.

A lease with a time limit
    needs clocks that agree and a leader that looks at its own in time. Needed between hosts, not on one.

The trap: a process loses a record lock when it closes *any* descriptor of the file, also one that some other
code opened only to read it. So a `Lease` opens its file once and keeps it open, one process makes one `Lease`
of a path, and all other code asks through it. Were it lost all the same, `held` would say so, and
a leader asks before each turn. That is one system call, and nothing cheaper knows: what is remembered is what
the loss makes wrong, a look at the descriptor (`fstat`) costs as much and says nothing of the lock, and asking
only now and then would leave turns that two workers make. In a forked child the kernel's answer is the parent's;
Python says when that was forked (`os.register_at_fork`), so no pids are compared each time.

A file can be removed or replaced under a live leader, and a process that opens the path then finds a free lease. So
`take` takes the lock of the file it has open and, where that is not the one at the path any more, that one's too; and a
leader looks now and then, and has both (`restore`).

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
    """The lease cannot be used as asked; `path` is its file."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(f"lease {path}: {message}")
        self.path = path


class Lease:
    """The lease kept at `path`, which is made when missing. Make one a process and keep it for the process's
    life.

    Raises `LeaseError` when the file can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self._fd = self._open()
        except OSError as problem:
            raise LeaseError(f"cannot be opened: {problem.strerror}", self.path) from None
        self._file = _file_of(self._fd)
        """Which file that is."""
        self._removed: list[int] = []
        """Files that were at the path before. As long as we lead we have their locks too."""
        self._identity = (0, 0)
        self._ours = b""
        """What the kernel says when this process has the lock."""
        self._taken = False
        """It was taken, and not dropped since: whether it is still held is the kernel's to say."""
        self._prepared: tuple[int, str, bytes] = (0, "", b"")
        """An epoch and its holder, and what the file says of it."""
        self._read_last: tuple[bytes, Holder | None] = (b"", None)
        """What was in the file when it was last read, and what that says."""
        self._myself()
        ours = WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: (forked := ours()) and forked())

    @property
    def held(self) -> bool:
        """Whether this very process holds the lease, asked of the kernel. False in a forked child."""
        if self._fd < 0:
            return False
        told = fcntl.fcntl(self._fd, layout.OFD_GETLK, _QUERY)
        if told == self._ours:
            return True
        if layout.lock_owner(told) != os.getpid():
            return False
        self._ours = told
        return True

    def take(self, holder: str, at_least: int | None = None) -> int | None:
        """Take the lease if it is free, without waiting; return its new epoch, None when another process
        holds it.

        The epoch is one more than the highest of the file's and `at_least`, the highest the caller knows of.
        `holder` is the worker's id, at most 64 printable ASCII characters. Raises `LeaseError` when this
        process has it already, and `LeaseCorrupt` when the file is unreadable and there is no `at_least` to
        go by; the lease is free then.
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
        """Do all of `take` that can be done before, for the case that this will be the epoch. Changes nothing."""
        with suppress(LeaseCorrupt, OSError):
            self._last()
        self._record(epoch, holder)

    def restore(self) -> bool:
        """Have the lease that is held in the file at the path again, if that was removed or replaced.

        Otherwise a process that opens the path would find a free lease. Returns whether that was needed, and done.
        """
        if not self.held or self._is_in_place():
            return False
        return self._lock_in_place()

    def drop(self) -> None:
        """Let go of the lease. Harmless when it isn't ours, so that any way out may call it."""
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
        """The process that holds the lease at this moment, None when it is free.

        The pid is the kernel's word. The rest is the file's, and when the file speaks of another process (its
        holder is just taking it, or the line is spoilt) epoch and start time are 0 and the name is "".
        """
        pid = self._owner()
        if pid is None:
            return None
        try:
            last = self._last()
        except LeaseCorrupt:
            last = None
        # 0: a process of another pid namespace, whose number means nothing here. Then the line is all there
        # is.
        if last is not None and pid in (last.pid, 0):
            return last
        return Holder(0, pid, 0, "")

    def close(self) -> None:
        """Close the file, which lets go of the lease too."""
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
        """Whether the file that is open is the one at the path."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._file

    def _lock_in_place(self) -> bool:
        """Beside the lock of the file that is open, take that of the one at the path; False when it can't be had.

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
        # This is a child: what the kernel says of its parent is not said of it.
        self._ours = b""
        self._prepared = 0, "", b""

    def _myself(self) -> tuple[int, int]:
        # Read once: `take` stands in a handoff's blackout. The pid tells whether a fork lies between.
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
        """Who took it last, by the file. Raises `LeaseCorrupt`."""
        data = os.pread(self._fd, layout.FILE_SIZE, 0)
        # Mostly a follower has read the same bytes when it connected to its leader: do not decode them again.
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
