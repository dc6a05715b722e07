"""The log of trades, in SQLite, in the directory that all releases share."""

import sqlite3
from pathlib import Path


class TradeLog:
    """Writes each trade under the id of its decision, so writing it again after a crash changes nothing."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file, timeout=2)
        self._db.execute("PRAGMA journal_mode = WAL")
        with self._db:
            self._db.execute(
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
        with self._db:
            self._db.execute(
                "INSERT OR IGNORE INTO trades VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (decision, position, market, reason, size, entry, exit, at),
            )

    def newest(self, count: int) -> list[tuple[str, str, str, int]]:
        """Position, market, reason and profit of the newest trades."""
        return self._db.execute(
            "SELECT position, market, reason, size * (exit - entry) FROM trades ORDER BY at DESC LIMIT ?",
            (count,),
        ).fetchall()

    def close(self) -> None:
        self._db.close()
