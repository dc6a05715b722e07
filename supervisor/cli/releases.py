"""releases: the code that is kept. Read from the home itself, so it needs no running supervisor; as is the history."""

from __future__ import annotations

import time

import msgspec

from ..release.releases import ReleaseStore
from ..store.history_db import HistoryDb
from ..store.state_dir import Home
from ..system.format import ago, size
from ..terminal.screen import columns
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput

__all__ = ["open_history", "releases"]


@local_command
def releases(context: CommandContext) -> Done:
    """The releases kept, newest first; `*` marks the one that leads, `-` the one before."""
    if not context.home.releases.is_dir():
        raise BadInput(
            f"home {context.home.path}: there are no releases here yet: they begin with `neverblink up`"
        )
    store = ReleaseStore(context.home.releases)
    current, previous = store.current(), store.previous()
    found = store.list()
    now = time.time_ns()
    marks = {previous: "-", current: context.screen.good("*")}
    rows = [
        (
            marks.get(release.id, " "),
            release.id,
            ago(release.made_at, now),
            size(release.bytes),
            f"{release.ref or release.commit[:8]}: {release.subject}" if release.commit else release.origin,
        )
        for release in found
    ]
    for line in columns(rows) if rows else ["no releases yet"]:
        context.screen.line(line)
    result = [
        {**msgspec.to_builtins(release, enc_hook=str), "current": release.id == current} for release in found
    ]
    return Done({"releases": result, "current": current, "previous": previous})


def open_history(home: Home) -> HistoryDb:
    """The home's history, to read; of the bot that last ran there, whatever directory this was called from."""
    if not home.database.is_file():
        raise BadInput(f"home {home.path}: there is no history here yet: it begins with `neverblink up`")
    with HistoryDb.open(home.database, "", read_only=True) as file:
        bots = file.bots()
    return HistoryDb.open(home.database, bots[0] if bots else "", read_only=True)
