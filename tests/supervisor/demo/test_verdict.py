"""The verdict has to be able to fail: each way in which a bot can do wrong shows in it, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.supervisor.demo.contracts import (
    MARKETS,
    TIMEFRAMES,
    BadContract,
    contracts_at,
    contracts_within,
    parse_contract,
)
from neverblink.supervisor.demo.ledger import (
    Direction,
    DuplicateId,
    Ledger,
    Reserved,
    Side,
    UnknownOrder,
    read_ledger,
)
from neverblink.supervisor.demo.verdict import DemoVerdict, Row, judge

START = 12_000_000_000 * 1000
END = START + 24_000_000_000
FIRST = "BTC-5m-3000"


def test_a_contract_is_determined_by_its_name() -> None:
    contract = parse_contract(FIRST)
    assert (contract.opens, contract.closes) == (START, START + 4_000_000_000)
    assert contract.name == FIRST
    assert contract in list(contracts_at(START))
    assert contract not in list(contracts_at(START + 4_000_000_000))


@pytest.mark.parametrize(
    "name", ["", "BTC", "BTC-5m", "BTC-1h-3", "EUR-5m-3", "BTC-5m-x", "BTC-5m--3", "BTC-5m-²"]
)
def test_invalid_names_are_refused_and_quoted(name: str) -> None:
    with pytest.raises(BadContract, match="expected MARKET-TIMEFRAME-NUMBER") as refused:
        parse_contract(name)
    assert repr(name) in refused.value.message


def test_only_complete_periods_count() -> None:
    whole = list(contracts_within(START, END))
    assert len(whole) == len(MARKETS) * (6 + 2)
    clipped = list(contracts_within(START + 1, END - 1))
    assert len(clipped) == len(MARKETS) * (4 + 0)
    assert not list(contracts_within(END, START))


def test_a_clean_session_is_ok() -> None:
    verdict = judged(session())
    assert verdict.ok
    assert (verdict.windows.expected, verdict.windows.traded) == (72, 72)
    assert (verdict.windows.doubled, verdict.windows.never) == (0, 0)
    assert {row.expected for row in verdict.rows} == {6, 2}
    assert not verdict.open
    assert not verdict.unfilled


def test_a_window_without_a_trade_is_named() -> None:
    verdict = judged(session(without=FIRST))
    assert not verdict.ok
    assert (verdict.windows.traded, verdict.windows.never) == (71, 1)
    assert row_of(verdict, "BTC", "5m").never == (FIRST,)


def test_a_window_that_was_traded_twice_is_named() -> None:
    ledger = session()
    trade(ledger, FIRST, "again")
    verdict = judged(ledger)
    assert not verdict.ok
    assert (verdict.windows.traded, verdict.windows.doubled) == (72, 1)
    assert row_of(verdict, "BTC", "5m").doubled == (FIRST,)
    assert row_of(verdict, "BTC", "5m").once == 5


def test_an_interrupted_order_is_named_and_trades_nothing() -> None:
    ledger = session(without=FIRST)
    reserve(ledger, FIRST, "cut")
    verdict = judged(ledger)
    assert not verdict.ok
    assert verdict.halves == ("cut",)
    assert verdict.windows.never == 1


def test_a_repeated_client_order_id_is_refused_and_named() -> None:
    ledger = session()
    with pytest.raises(DuplicateId) as refused:
        reserve(ledger, FIRST, f"buy-{FIRST}")
    assert refused.value.order == ledger.of_client("demo", f"buy-{FIRST}").order
    verdict = judged(ledger)
    assert not verdict.ok
    assert verdict.duplicates == (f"buy-{FIRST}",)
    assert verdict.windows.doubled == 0


def test_each_account_has_separate_client_order_ids() -> None:
    ledger = Ledger()
    reserve(ledger, FIRST, "a")
    reserve(ledger, FIRST, "a", account="other")
    assert len(ledger.records) == 2


def test_a_refused_order_is_reported() -> None:
    ledger = session()
    ledger.refuse("demo", "late", "closed", END)
    verdict = judged(ledger)
    assert not verdict.ok
    assert verdict.refused == ("closed",)


def test_open_positions_and_unexecuted_orders_are_reported() -> None:
    ledger = session()
    order = reserve(ledger, FIRST, "held", direction="down", side="buy")
    ledger.confirm(order.order, END)
    ledger.fill(order, 2, END)
    verdict = judged(ledger)
    assert verdict.unfilled == ("held",)
    assert verdict.open == {FIRST: -2}


def test_the_span_can_be_given_and_without_a_session_nothing_is_expected() -> None:
    ledger = session()
    assert judge(ledger.records, END, START, START + 4_000_000_000).windows.expected == 9
    assert judge([], END).windows.expected == 0
    running = Ledger()
    running.session("start", START)
    assert judge(running.records, START + 8_000_000_000).windows.expected == 18


def test_a_confirmation_counts_once_and_needs_an_order() -> None:
    ledger = Ledger()
    order = reserve(ledger, FIRST, "a")
    assert ledger.confirm(order.order, START)
    assert not ledger.confirm(order.order, START)
    with pytest.raises(UnknownOrder, match="o-99"):
        ledger.confirm("o-99", START)


def test_the_file_agrees_with_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with open(path, "ab") as file:
        ledger = session(Ledger(file))
        assert read_ledger(path) == ledger.records
    assert judge(read_ledger(path), END) == judged(ledger)


def session(ledger: Ledger | None = None, without: str = "") -> Ledger:
    """A session of two 15m periods in which every contract but `without` is bought, filled and sold."""
    ledger = ledger or Ledger()
    ledger.session("start", START)
    for contract in contracts_within(START, END, MARKETS, TIMEFRAMES):
        if contract.name != without:
            trade(ledger, contract.name, f"buy-{contract.name}")
            trade(ledger, contract.name, f"sell-{contract.name}", side="sell")
    ledger.session("end", END)
    return ledger


def trade(ledger: Ledger, contract: str, client_id: str, side: Side = "buy") -> None:
    order = reserve(ledger, contract, client_id, side=side)
    ledger.confirm(order.order, START)
    for size in (1, order.size - 1):
        ledger.fill(order, size, START)


def reserve(
    ledger: Ledger,
    contract: str,
    client_id: str,
    *,
    account: str = "demo",
    side: Side = "buy",
    direction: Direction = "up",
) -> Reserved:
    return ledger.reserve(
        at=START,
        account=account,
        client_id=client_id,
        contract=contract,
        side=side,
        direction=direction,
        size=3,
        price=0.5,
    )


def judged(ledger: Ledger) -> DemoVerdict:
    return judge(ledger.records, END)


def row_of(verdict: DemoVerdict, market: str, timeframe: str) -> Row:
    return next(row for row in verdict.rows if (row.market, row.timeframe) == (market, timeframe))
