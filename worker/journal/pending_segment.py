"""A segment that is being written, until it has its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...protocol.journal import RecordKind
from ..io.os_errors import fail, sync_directory
from .fsync import FsyncTask, FsyncThread
from .segment import SegmentFile

__all__ = ["PendingSegment"]


class PendingSegment:
    """`file` is to become the segment `path`; see `journal.NewSegment`. `adopt(file)`: it has.

    Where it has to be on the disk before that, this is waited for in a thread.
    """

    def __init__(
        self,
        file: SegmentFile,
        path: Path,
        durability: str,
        runner: FsyncThread,
        adopt: Callable[[SegmentFile], None],
    ) -> None:
        self._file = file
        self._path = path
        self._durability = durability
        self._runner = runner
        self._adopt = adopt
        self._naming: FsyncTask | None = None

    def append(self, kind: RecordKind, payload: bytes) -> None:
        self._file.append(kind, payload)

    def publish(self) -> bool:
        if self._naming is None:
            if self._durability == "process":
                self._naming = FsyncTask(self._name)
                self._naming.run()
            else:
                self._naming = self._runner.do(self._sync_and_name)
        if not self._naming.done:
            return False
        if self._naming.problem is not None:
            fail(self._path, "cannot be begun", self._naming.problem)
        self._file.path = self._path
        self._adopt(self._file)
        return True

    def settle(self) -> None:
        if self._naming is not None:
            self._naming.wait()

    def discard(self) -> None:
        """Leave nothing of it behind. Raises `JournalError` when it has its name, and keeps it."""
        unfinished = self._file.path
        if self._naming is not None:
            self._naming.wait()
            try:
                self._path.unlink(missing_ok=True)
            except OSError as problem:
                fail(self._path, "cannot be removed", problem)
        self._runner.do(self._file.shut)
        self._runner.do(lambda: unfinished.unlink(missing_ok=True))

    def _name(self) -> None:
        self._file.path.rename(self._path)

    def _sync_and_name(self) -> None:
        os.fdatasync(self._file.fd)
        self._name()
        sync_directory(self._path.parent)
