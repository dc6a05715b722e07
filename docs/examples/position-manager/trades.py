"""The log of trades, in SQLite, in the directory that all releases share."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path


class TradeLog:
    """Writes each trade under the id of its decision, so writing it again after a crash changes nothing.

    Two processes may have the file at hand during a handoff, so it is open only while it is used.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._open() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS trades (decision TEXT PRIMARY KEY, position TEXT NOT NULL, "
                "market TEXT NOT NULL, reason TEXT NOT NULL, size INTEGER NOT NULL, entry INTEGER NOT NULL, "
                "exit INTEGER NOT NULL, at INTEGER NOT NULL)"
            )

    def add(
        self,
        decision: str,
        position: str,
        market: str,
        reason: str,
        size: int,
        entry: int,
        exit: int,
        at: int,
    ) -> None:
        with self._open() as db:
            db.execute(
                "INSERT OR IGNORE INTO trades VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (decision, position, market, reason, size, entry, exit, at),
            )

    def newest(self, count: int) -> list[tuple[str, str, str, int]]:
        """Position, market, reason and profit of the newest trades."""
        with self._open() as db:
            return db.execute(
                "SELECT position, market, reason, size * (exit - entry) FROM trades ORDER BY at DESC LIMIT ?",
                (count,),
            ).fetchall()

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._file, timeout=2)) as db, db:
            yield db
