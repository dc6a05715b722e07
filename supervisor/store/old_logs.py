"""Removes the logs of workers that have ended: with their release, and the oldest when there are many of them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from pathlib import Path

from .history_db import HistoryDb

__all__ = ["KEPT_WORKERS", "remove_old_logs"]

KEPT_WORKERS = 100
"""So many workers that have ended keep their logs, should a release live through more of them."""
_LOG = re.compile(r"(w\d+)\.log(?:\.\d+|\.new)?")
_MOST_WORKERS = 1_000_000


def remove_old_logs(logs: Path, releases: Collection[str], history: HistoryDb) -> None:
    """Remove the log files in `logs` of workers that have ended and whose release is not among those that are kept.

    What cannot be removed stays. Raises `HistoryError`.
    """
    files: dict[str, list[Path]] = {}
    for path in logs.glob("w*.log*"):
        named = _LOG.fullmatch(path.name)
        if named is not None:
            files.setdefault(named[1], []).append(path)
    known = {one.worker: one for one in history.workers(_MOST_WORKERS)}
    alive = {worker for worker, one in known.items() if one.ended is None}
    ended = sorted(files.keys() - alive, key=lambda worker: int(worker[1:]))
    for worker in ended:
        one = known.get(worker)
        if worker not in ended[-KEPT_WORKERS:] or (one is not None and one.release not in releases):
            for path in files[worker]:
                with contextlib.suppress(OSError):
                    path.unlink()
