"""Threads for slow work of the journal on the disk, so that no tick waits for it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["FsyncTask", "FsyncThread", "Syncer"]

_SYNC_EVERY = 1.0


class Syncer:
    """Forces one file to the disk once a second, if something was written.

    It duplicates the descriptor, so the writer may close its own at any time. Raises `OSError` when no thread can be
    started.
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
        """Force what is left to the disk, and end the thread."""
        self._ending.set()
        self._thread.join()
        os.close(self._fd)

    def _run(self) -> None:
        while self.problem is None:
            last = self._ending.wait(_SYNC_EVERY)
            if self.written:
                # Cleared before the sync, not after: what is written meanwhile belongs to the next round.
                self.written = False
                try:
                    os.fdatasync(self._fd)
                except OSError as problem:
                    self.problem = problem
            if last:
                return


class FsyncTask:
    """A task for the thread. When it is `done`, `problem` is the error that it raised, if any."""

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
    """Runs one task after another in a thread, which is started with the first."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[FsyncTask | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, act: Callable[[], None]) -> FsyncTask:
        """Run `act` in the thread; it may raise `OSError`."""
        task = FsyncTask(act)
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="neverblink-fsync", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # No thread can be started: run it here.
                task.run()
                return task
            self._thread = thread
        self._queue.put(task)
        return task

    def close(self) -> None:
        """Run what is queued, then end the thread. Harmless when there is none."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            task.run()
