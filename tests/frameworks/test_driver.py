"""The driver counts what a bot loses, doubles and reorders, and takes a bot through everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from .driver import Counted, Done, Row, bot_of, compare, drive
from .market import Market


def test_lost_doubled_and_reordered_messages_are_counted() -> None:
    sent = [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    assert compare(sent, [Done("a", 1, 0), Done("b", 1, 0), Done("a", 2, 0), Done("a", 3, 0)]) == Counted()
    assert compare(sent, [Done("a", 1, 0), Done("a", 1, 0), Done("a", 3, 0), Done("a", 2, 0)]) == Counted(
        1, 1, 1
    )


@pytest.mark.deep
def test_a_bot_that_polls_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with Market() as market:
        row = drive(bot_of("plain"), market, tmp_path, deploys=2)
    print(Row.heading())
    print(row)
    assert (row.missed, row.counted) == (0, Counted())
    # The market refuses an order's id the second time.
    assert row.alone.counted == row.standby.counted == Counted()
    assert row.standby.gap < row.alone.gap
    assert row.deploys == 3
