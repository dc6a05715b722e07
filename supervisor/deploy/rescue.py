"""`up --rescue`: ends the workers of a bot whose home was removed, so that the bot goes on from its journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ...protocol.errors import NeverblinkError
from ..config.config import Config
from ..environment.prepare import Preparer
from ..environment.trial import try_project
from ..release.releases import ReleaseStore
from ..store import living_workers
from ..store.orphans import Orphan, end_orphans, refuse_beside_orphans
from ..store.state_dir import Home
from .first_release import Chosen, ScreenProgress

__all__ = ["end_orphaned_workers"]


async def end_orphaned_workers(
    config: Config,
    home: Home,
    chosen: Chosen | None,
    preparer: Preparer,
    environment: Mapping[str, str],
    *,
    rescue: bool,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Raise `HomeOrphaned` when the bot of a removed home is alive; with `rescue`, end its workers instead.

    Before they are ended, the code that is to go on is tried. Raises `NeverblinkError` when it can't be started.
    """
    orphans = _find(home, rescue=rescue)
    if not orphans:
        return
    if not ((chosen is not None and chosen.release) or ReleaseStore(home.releases).current() is not None):
        directory = chosen.directory if chosen is not None and chosen.directory else config.directory
        await _try_code(directory, preparer, environment, say)
    for one in orphans:
        warn(f"ending {one}, whose home was removed: the bot goes on from its journal")
    end_orphans(orphans)


def _find(home: Home, *, rescue: bool) -> list[Orphan]:
    found = refuse_beside_orphans(home, rescue=rescue)
    if rescue:
        # A leader that the history does not know: the history was removed, or is an older one.
        found += [
            Orphan(one.pid, one.started, "worker", None)
            for one in living_workers.alive_in(home)
            if not one.release
        ]
    return found


async def _try_code(
    directory: Path, preparer: Preparer, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    try:
        await try_project(directory, preparer, environment, ScreenProgress(say))
    except NeverblinkError as problem:
        problem.message += (
            ". The worker was not ended, and the bot ticks on: mend it and run `up --rescue` again"
        )
        raise
