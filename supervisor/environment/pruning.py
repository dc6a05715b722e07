"""Which releases are kept, and where the links beside them point.

`current` leads, `previous` led before it. The links are for people and must not stop a deployment: when one cannot be
moved, that is reported, and nothing else happens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection

from ...protocol.errors import NeverblinkError
from ..release.releases import (
    AmbiguousRelease,
    NoSuchRelease,
    Release,
    ReleaseStore,
)
from ..system.errors import Refusal
from .prepare import Preparer

__all__ = ["EnvironmentPruning"]


class EnvironmentPruning:
    """Keeps `releases`, and their environments by `preparer`, in order. `trouble` is told what went wrong."""

    def __init__(self, releases: ReleaseStore, preparer: Preparer, trouble: Callable[[str], None]) -> None:
        self.releases = releases
        self._preparer = preparer
        self._trouble = trouble

    async def earlier(self, said: str, leads: str) -> Release:
        """The release to go back to: `said`, or the previous one. `leads` is the one that leads. Raises `Refusal`."""
        try:
            release = await asyncio.to_thread(self.releases.find, said or "previous")
        except NoSuchRelease:
            if said:
                raise Refusal(
                    "not-found", f'no release "{said}" is kept: see `neverblink releases`'
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
        """Have the links say that this release leads."""
        try:
            self.releases.promote(release)
        except (NeverblinkError, OSError) as problem:
            self._trouble(f"the link to release {release} could not be moved: {problem}")

    def put_back(self, current: str, previous: str | None) -> None:
        """As if the release that was rolled back had never led: it is nothing to go back to."""
        if previous is not None:
            self.promote(previous)
        self.promote(current)
        if previous is None:
            with contextlib.suppress(OSError):
                (self.releases.directory / "previous").unlink(missing_ok=True)

    async def prune(self, keep: int, in_use: Collection[str], pids: Collection[int]) -> None:
        """Remove all but the newest `keep` releases and those in use; `pids` are the workers that are alive."""

        def prune() -> None:
            self.releases.prune(keep, set(in_use))
            self._preparer.prune(self.releases.directory, pids)

        try:
            await asyncio.to_thread(prune)
        except OSError as problem:
            self._trouble(f"old releases could not be removed: {problem}")
