"""`up --rescue`: ends the workers of a bot whose home was removed. The bot then continues from its journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from ...protocol.errors import NeverblinkError
from ..config.config import Config, load
from ..environment.import_check import check_import
from ..environment.prepare import Preparer
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

    Before that, the code that will continue is tried. Raises `NeverblinkError` when it can't be started.
    """
    orphans = _find(home, rescue=rescue)
    if not orphans:
        return
    if not ((chosen is not None and chosen.release) or ReleaseStore(home.releases).current() is not None):
        directory = chosen.directory if chosen is not None and chosen.directory else config.directory
        await _try_code(directory, preparer, environment, say)
    for orphan in orphans:
        warn(f"ending {orphan}, whose home was removed: the bot goes on from its journal")
    end_orphans(orphans)


def _find(home: Home, *, rescue: bool) -> list[Orphan]:
    found = refuse_beside_orphans(home, rescue=rescue)
    if rescue:
        # A leader that the history does not know: the history was removed, or is older.
        found += [
            Orphan(worker.pid, worker.started, "worker", None)
            for worker in living_workers.alive_in(home)
            if not worker.release
        ]
    return found


async def _try_code(
    directory: Path, preparer: Preparer, environment: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Build the project's environment, run its check and import its bot. The build is used when the bot is started."""
    try:
        built = await preparer.prepare("", directory, load(directory), ScreenProgress(say))
        await asyncio.to_thread(check_import, built, environment)
    except NeverblinkError as problem:
        problem.message += (
            ". The worker was not ended, and the bot ticks on: mend it and run `up --rescue` again"
        )
        raise
