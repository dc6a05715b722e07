"""An ordinary asyncio program in at most five changed lines: its `main` is bound to the lead, its dict goes along."""

from __future__ import annotations

from pathlib import Path

from ..driver import Counted, Row, bot_of, drive
from ..market import Market


def test_a_program_loses_and_doubles_nothing_in_deployments_and_a_rollback(tmp_path: Path) -> None:
    with Market() as market:
        row = drive(bot_of("asyncio_program"), market, tmp_path)
    print(Row.heading())
    print(row)
    assert row.added <= 5
    assert (row.missed, row.counted) == (0, Counted())
    # What a killed process had done since its last tick is asked for again, and the market refuses it.
    assert row.alone.counted == row.standby.counted == Counted()
