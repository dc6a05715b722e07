"""The position manager: the exchange has one sale for each position, in time, and the trade log has the same ones."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable

import pytest

from ..whole.live import Live
from .example import Example, Record

MAX_AGE = 1
"""Seconds after which the bot closes any position."""


def bought(record: list[Record]) -> set[str]:
    return {fill["position"] for fill in record if fill["what"] == "filled" and fill["side"] == "buy"}


def judge(record: list[Record], trades: list[str], due: set[str]) -> None:
    """Each position was sold at most once, each that was due exactly once, and the trade log has the same sales."""
    sold = Counter(sale["position"] for sale in record if sale["what"] == "sold")
    assert due - sold.keys() == set()
    assert [position for position, times in sold.items() if times > 1] == []
    assert [line for line in record if line["what"] == "refused"] == []
    assert sorted(trades) == sorted(sale["client_id"] for sale in record if sale["what"] == "sold")


def logged(live: Live) -> list[str]:
    """The decisions in the trade log."""
    database = sqlite3.connect(f"file:{live.home / 'data' / 'trades.db'}?mode=ro", uri=True)
    try:
        return [row[0] for row in database.execute("SELECT decision FROM trades ORDER BY rowid")]
    finally:
        database.close()


def through(live: Live, example: Example, *, deaths: bool) -> None:
    """Run it through deployments and a rollback, and with `deaths` through two kills, and judge what came of it."""

    def closed(more: int) -> None:
        """Wait until so many more positions were sold."""
        count = len(example.recorded("sold")) + more
        example.until(lambda: len(example.recorded("sold")) >= count)

    example.up()
    live.ask("settings", set={"max_age": MAX_AGE}, who="test")
    closed(3)
    example.edit("rules.py", "position.best * (1 - limits.trail)", "position.best * (1 - limits.trail / 2)")
    example.deploy()
    closed(3)
    live.ask("rollback", wait=True)
    closed(3)
    if deaths:
        example.kill()
        closed(10)
        example.kill(standby=False)
        closed(10)
    due = bought(example.record)
    example.until(lambda: due <= {sale["position"] for sale in example.recorded("sold")})
    totals = example.ask("totals")
    live.down()
    example.close_market()
    assert (totals["skipped_fills"], totals["mismatches"]) == (0, 0)
    judge(example.record, logged(live), due)
    report = live.audit()
    assert report["doubled"] == 0, report


def test_each_position_is_closed_once_through_a_deployment_and_a_rollback(
    live: Live, start_example: Callable[..., Example]
) -> None:
    through(live, start_example("position-manager", "--every", "0.1"), deaths=False)


@pytest.mark.deep
def test_each_position_is_closed_once_though_processes_die(
    live: Live, start_example: Callable[..., Example]
) -> None:
    through(live, start_example("position-manager", "--every", "0.1"), deaths=True)


def test_the_judgement_finds_a_position_that_was_lost_or_doubled() -> None:
    record: list[Record] = []
    for n in range(1, 4):
        record.append({"what": "filled", "side": "buy", "position": f"p{n}"})
        record.append({"what": "sold", "position": f"p{n}", "client_id": f"d{n}"})
    judge(record, ["d1", "d2", "d3"], bought(record))
    for wrong, trades in (
        (record[:-1], ["d1", "d2"]),
        (record, ["d1", "d2"]),
        (record, ["d1", "d2", "d3", "d3"]),
        ([*record, record[1] | {"client_id": "d4"}], ["d1", "d2", "d3", "d4"]),
        ([*record, {"what": "refused", "position": "p1"}], ["d1", "d2", "d3"]),
    ):
        with pytest.raises(AssertionError):
            judge(wrong, trades, bought(record))
