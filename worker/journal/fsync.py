"""What the journal leaves to threads, because the disk may take its time and a tick may not wait for it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["FsyncTask", "FsyncThread", "Syncer"]

_SYNC_EVERY = 1.0


class Syncer:
    """Forces one descriptor to the disk once a second, as long as something is written.

    It has a descriptor of its own, so that the writer may close its own at any time. Raises `OSError` when there can
    be no thread for it.
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


class FsyncTask:
    """Something to be done. When it is `done`, `problem` says what kept it from being done well."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.problem: OSError | None = None
        self._act = act
        self._done = threading.Event()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def wait(self) -> None:
        """Return when it is done."""
        self._done.wait()

    def run(self) -> None:
        try:
            self._act()
        except OSError as problem:
            self.problem = problem
        self._done.set()


class FsyncThread:
    """Does one chore after another in a thread of its own, which is there when the first one comes."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[FsyncTask | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, act: Callable[[], None]) -> FsyncTask:
        """Have `act` done, which may raise `OSError`."""
        chore = FsyncTask(act)
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="neverblink-chores", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # No thread to be had: then it is done here.
                chore.run()
                return chore
            self._thread = thread
        self._queue.put(chore)
        return chore

    def close(self) -> None:
        """Wait for what is to be done. Harmless when there is nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def _run(self) -> None:
        while (chore := self._queue.get()) is not None:
            chore.run()
