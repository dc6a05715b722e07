"""A program on APScheduler in at most five changed lines: its jobs are timers of the bot."""

from __future__ import annotations

from pathlib import Path

from ..driver import Counted, Row, bot_of, drive
from ..market import Market


def test_a_scheduled_program_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with Market() as market:
        row = drive(bot_of("apscheduler"), market, tmp_path)
    print(Row.heading())
    print(row)
    assert row.added <= 5
    assert (row.missed, row.counted) == (0, Counted())
    # The job that a kill has cut runs again, and the market refuses its orders the second time.
    assert row.alone.counted == row.standby.counted == Counted()
