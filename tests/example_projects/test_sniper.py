"""The sniper, through deployments inside its windows, a rollback and two deaths: the exchange has each entry once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from ..whole.live import Live
from .example import Example, Record


def series(contract: str) -> str:
    return contract.rpartition("-")[0]


def ended_between(record: list[Record], first: int, last: int) -> list[str]:
    """The contracts that opened and ended between two moments."""
    opened = {line["contract"]: line["at"] for line in record if line["what"] == "opened"}
    ended = {line["contract"]: line["at"] for line in record if line["what"] == "ended"}
    return [contract for contract, at in opened.items() if at > first and ended.get(contract, last) < last]


def every_series_ended(record: list[Record], first: int) -> bool:
    return len({series(contract) for contract in ended_between(record, first, record[-1]["at"])}) == 18


def judge(record: list[Record], first: int, last: int) -> None:
    """Every contract that opened and ended between two moments was bought exactly once."""
    bought = Counter(
        line["contract"] for line in record if line["what"] == "accepted" and line["side"] == "buy"
    )
    due = ended_between(record, first, last)
    assert len({series(contract) for contract in due}) == 18, due
    assert [contract for contract in due if not bought[contract]] == []
    assert [contract for contract, times in bought.items() if times > 1] == []
    assert [line for line in record if line["what"] == "refused"] == []


@pytest.mark.deep
def test_no_entry_is_lost_or_doubled_through_deployments_a_rollback_and_deaths(
    live: Live, start_example: Callable[..., Example]
) -> None:
    example = start_example("sniper", SPEEDUP="50")
    example.up()
    first = example.record[-1]["at"]
    example.until(lambda: example.ask("book")["entered"] >= 9)

    example.edit("strategy.py", "SMOOTHING = 0.02", "SMOOTHING = 0.05")
    example.deploy()
    live.ask("rollback", wait=True)
    example.deploy()
    example.kill()
    example.kill_feed("account")
    example.deploy()
    before = example.ask("book")["entered"]
    example.until(lambda: example.ask("book")["entered"] >= before + 45, within=90)
    # A whole contract of each series, too: one of 15 minutes may have begun just before the test.
    example.until(lambda: every_series_ended(example.record, first), within=90)

    book = example.ask("book")
    last = example.record[-1]["at"]
    live.down()
    example.close_market()
    judge(example.record, first, last)
    assert (book["late"], book["skipped_reports"]) == (0, 0)
    report = live.audit()
    assert report["doubled"] == 0, report


def test_the_judgement_finds_an_entry_that_is_missing_or_doubled() -> None:
    contracts = [f"M{market}-{name}-1" for market in range(9) for name in ("5m", "15m")]
    record: list[Record] = []
    for contract in contracts:
        record.append({"what": "opened", "at": 10, "contract": contract})
        record.append({"what": "accepted", "at": 15, "side": "buy", "contract": contract})
        record.append({"what": "ended", "at": 20, "contract": contract})
    judge(record, 5, 25)
    with pytest.raises(AssertionError):
        judge([line for line in record if line != record[1]], 5, 25)
    with pytest.raises(AssertionError):
        judge([*record, record[1]], 5, 25)
