"""The number of the last deployment, when the history that has it is lost.

"Deployment 7" is one deployment for good: people name it in messages, and `abort` and `history` take it. So a history
that begins anew counts on from what the logs of builds, and the histories that were set aside, still say.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..environment.build_log import newest_logged
from ..store.history_db import HistoryDb, HistoryError

__all__ = ["newest_deployment"]


def newest_deployment(database: Path, logs: Path, bot: str) -> int:
    """The highest number that any deployment of `bot` is known to have had; 0 when there was none."""
    numbers = [newest_logged(logs)]
    for path in [database, *database.parent.glob(f"{database.name}.damaged-*Z")]:
        with suppress(HistoryError), HistoryDb.open(path, bot, read_only=True) as history:
            numbers += [one.id for one in history.deployments(1)]
    return max(numbers)
