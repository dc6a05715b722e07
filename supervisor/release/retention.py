"""Retention: which releases and logs of workers are kept, and where the links beside the releases point.

`current` leads, `previous` led before it. The links are for people and must not stop a deployment: a link that can't be
moved is reported, and the deployment goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Collection
from pathlib import Path

from ...protocol.errors import NeverblinkError
from ..store.history_db import HistoryDb
from ..system.errors import Refusal
from .releases import AmbiguousRelease, NoSuchRelease, Release, ReleaseStore

__all__ = ["KEPT_WORKERS", "ReleaseRetention", "remove_old_logs"]

KEPT_WORKERS = 100
"""How many ended workers keep their logs."""
_LOG = re.compile(r"(w\d+)\.log(?:\.\d+|\.new)?")
_MOST_WORKERS = 1_000_000


class ReleaseRetention:
    """Keeps `releases` in order. Calls `trouble` with a line when something went wrong."""

    def __init__(self, releases: ReleaseStore, trouble: Callable[[str], None]) -> None:
        self.releases = releases
        self._trouble = trouble

    async def earlier(self, name: str, leads: str) -> Release:
        """The release to go back to: `name`, or the previous one. `leads` is the release that leads.

        Raises `Refusal`.
        """
        try:
            release = await asyncio.to_thread(self.releases.find, name or "previous")
        except NoSuchRelease:
            if name:
                raise Refusal(
                    "not-found", f'no release "{name}" is kept: see `neverblink releases`'
                ) from None
            raise Refusal("not-found", "there is no previous release to go back to") from None
        except AmbiguousRelease as problem:
            raise Refusal("bad-input", problem.message) from None
        if release.id == leads:
            raise Refusal(
                "bad-input", f"release {release.id} leads already: name another, see `neverblink releases`"
            )
        return release

    def promote(self, release: str) -> None:
        """Move the links: this release leads."""
        try:
            self.releases.promote(release)
        except (NeverblinkError, OSError) as problem:
            self._trouble(f"the link to release {release} could not be moved: {problem}")

    def put_back(self, current: str, previous: str | None) -> None:
        """Restore the links as if the rolled-back release had never led: a rollback never goes back to it."""
        if previous is not None:
            self.promote(previous)
        self.promote(current)
        if previous is None:
            with contextlib.suppress(OSError):
                (self.releases.directory / "previous").unlink(missing_ok=True)

    async def prune(self, keep: int, in_use: Collection[str]) -> None:
        """Remove all but the newest `keep` releases and those in use."""
        try:
            await asyncio.to_thread(self.releases.prune, keep, in_use)
        except OSError as problem:
            self._trouble(f"old releases could not be removed: {problem}")


def remove_old_logs(logs: Path, releases: Collection[str], history: HistoryDb) -> None:
    """Remove the logs of workers that have ended and whose release is not kept, and of the oldest beyond the limit.

    A file that cannot be removed stays. Raises `HistoryError`.
    """
    files: dict[str, list[Path]] = {}
    for path in logs.glob("w*.log*"):
        named = _LOG.fullmatch(path.name)
        if named is not None:
            files.setdefault(named[1], []).append(path)
    known = {row.worker: row for row in history.workers(_MOST_WORKERS)}
    alive = {worker for worker, row in known.items() if row.ended is None}
    ended = sorted(files.keys() - alive, key=lambda worker: int(worker[1:]))
    for worker in ended:
        row = known.get(worker)
        if worker not in ended[-KEPT_WORKERS:] or (row is not None and row.release not in releases):
            for path in files[worker]:
                with contextlib.suppress(OSError):
                    path.unlink()
