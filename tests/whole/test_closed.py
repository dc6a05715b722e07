"""Closed to others: what a real bot and its supervisor leave in the home, and who is let in."""

from __future__ import annotations

import stat
from pathlib import Path

from .bots import COUNTER, bot
from .live import Live

WRITES = """
def on_start(self):
    open(os.environ["BOTS_FILE"], "a").close()
"""


def test_everything_in_a_home_is_for_its_user_alone_whatever_the_umask(live: Live) -> None:
    live.umask = 0
    live.environment.pop("PYTHONDONTWRITEBYTECODE", None)
    live.environment["BOTS_FILE"] = str(live.tmp / "bots-file")
    live.up(live.code("v0", bot(WRITES)))
    live.deploy(live.code("v1", COUNTER))
    # While all of it is there: sockets, locks, what SQLite keeps beside its file, what Python has compiled.
    found = [live.home, *live.home.rglob("*")]
    kinds = {path.suffix for path in found}
    assert {".sock", ".db", ".db-wal", ".db-shm", ".journal", ".log", ".pyc"} <= kinds
    assert {"lease", "lock"} <= {path.name for path in found}
    opened = [path for path in found if not path.is_symlink() and _mode(path) & 0o077]
    assert opened == []
    assert _mode(live.tmp / "bots-file") == 0o666, "what a bot makes elsewhere is its own affair"
    live.down()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
