"""The verdict: how a bot traded, from the exchange's ledger alone.

The exchange does not know neverblink, processes or releases. It has the start and end of the session, in which every
contract must be bought exactly once, and every order that was begun. So it detects a swap of code that lost a window,
traded one twice, sent an order twice or stopped in the middle of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from .contracts import MARKETS, TIMEFRAMES, contracts_within
from .ledger import (
    Confirmed,
    DemoSession,
    Filled,
    OrderRefused,
    Record,
    Repeated,
    Reserved,
)

__all__ = ["DemoVerdict", "Row", "Windows", "judge"]


class Windows(msgspec.Struct, frozen=True):
    """How many windows there were, how many were traded (at least once), more than once, and never."""

    expected: int
    traded: int
    doubled: int
    never: int


class Row(msgspec.Struct, frozen=True):
    """One market in one timeframe; `never` and `doubled` name the contracts."""

    market: str
    timeframe: str
    expected: int
    once: int
    never: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()


class DemoVerdict(msgspec.Struct, frozen=True):
    """The result for `since` to `until` (wall ns). Orders and fills are those of the whole ledger."""

    since: int
    until: int
    windows: Windows
    rows: tuple[Row, ...]
    orders: int
    """Orders begun."""
    halves: tuple[str, ...]
    """Client order ids of orders that were begun and never confirmed: cut in half."""
    duplicates: tuple[str, ...]
    """Client order ids that were sent twice and refused."""
    refused: tuple[str, ...]
    """Why other orders were refused."""
    unfilled: tuple[str, ...]
    """Confirmed orders that are not filled completely yet."""
    open: Mapping[str, int]
    """Contracts still held, and the size of each: up is positive, down negative."""
    fills: int

    @property
    def ok(self) -> bool:
        """Every window traded exactly once, no order sent twice, none cut in half."""
        clean = not (self.halves or self.duplicates or self.refused)
        return clean and self.windows.traded == self.windows.expected and not self.windows.doubled


def judge(
    records: Iterable[Record],
    now: int,
    since: int | None = None,
    until: int | None = None,
    markets: Sequence[str] = MARKETS,
    timeframes: Mapping[str, int] = TIMEFRAMES,
) -> DemoVerdict:
    """Judge the ledger's records as of `now` (wall ns).

    Without `since` and `until` the span is the session's; without a session, nothing was expected.
    """
    records = list(records)
    start, end = _session(records, now)
    since = start if since is None else since
    until = end if until is None else until
    orders = [record for record in records if isinstance(record, Reserved)]
    fills = [record for record in records if isinstance(record, Filled)]
    confirmed = {record.order for record in records if isinstance(record, Confirmed)}
    bought = Counter(order.contract for order in orders if order.side == "buy" and order.order in confirmed)
    rows = _rows(bought, since, until, markets, timeframes)
    filled: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for fill in fills:
        filled[fill.order] += fill.size
        held[fill.contract] += fill.size if (fill.side == "buy") == (fill.direction == "up") else -fill.size
    return DemoVerdict(
        since=since,
        until=until,
        windows=Windows(
            expected=sum(row.expected for row in rows),
            traded=sum(row.once + len(row.doubled) for row in rows),
            doubled=sum(len(row.doubled) for row in rows),
            never=sum(len(row.never) for row in rows),
        ),
        rows=rows,
        orders=len(orders),
        halves=tuple(order.client_id for order in orders if order.order not in confirmed),
        duplicates=tuple(record.client_id for record in records if isinstance(record, Repeated)),
        refused=tuple(record.reason for record in records if isinstance(record, OrderRefused)),
        unfilled=tuple(
            order.client_id
            for order in orders
            if order.order in confirmed and filled[order.order] < order.size
        ),
        open={contract: size for contract, size in held.items() if size},
        fills=len(fills),
    )


def _session(records: Iterable[Record], now: int) -> tuple[int, int]:
    """From the first start to the last end after it, or to now; None without a start."""
    start: int | None = None
    end: int | None = None
    for record in records:
        if not isinstance(record, DemoSession):
            continue
        if record.moment == "end":
            end = record.at
        elif start is None:
            start = record.at
    if start is None:
        return now, now
    return start, now if end is None else max(start, end)


def _rows(
    bought: Mapping[str, int], since: int, until: int, markets: Sequence[str], timeframes: Mapping[str, int]
) -> tuple[Row, ...]:
    counts: dict[tuple[str, str], list[tuple[str, int]]] = {
        (market, timeframe): [] for timeframe in timeframes for market in markets
    }
    for contract in contracts_within(since, until, markets, timeframes):
        counts[contract.market, contract.timeframe].append((contract.name, bought.get(contract.name, 0)))
    return tuple(
        Row(
            market,
            timeframe,
            expected=len(seen),
            once=sum(times == 1 for _, times in seen),
            never=tuple(name for name, times in seen if not times),
            doubled=tuple(name for name, times in seen if times > 1),
        )
        for (market, timeframe), seen in counts.items()
    )
