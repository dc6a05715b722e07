"""The traded instruments: up/down contracts on a few markets, in two timeframes.

A contract bets on whether a market ends its period higher than it began it. Periods follow each other from the UTC
epoch on, so a period's number is computed, and so is the contract's name: `BTC-5m-447012345`. The demo's clock
is compressed: what is called 5m lasts four seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ...protocol import duration
from ...protocol.errors import NeverblinkError

__all__ = [
    "MARKETS",
    "TIMEFRAMES",
    "BadContract",
    "Contract",
    "contracts_at",
    "contracts_within",
    "parse_contract",
]

MARKETS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "MATIC", "SPX")

TIMEFRAMES: Mapping[str, int] = {"5m": duration.parse("4s"), "15m": duration.parse("12s")}
"""Each timeframe's name and the length of its periods, ns."""


class BadContract(NeverblinkError):
    """Not the name of a contract."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(
            f"contract {name!r}: {problem}; expected MARKET-TIMEFRAME-NUMBER, such as BTC-5m-447012345"
        )
        self.name = name


class Contract(msgspec.Struct, frozen=True):
    """One market in one period, wall ns: it trades while `opens <= t < closes`."""

    market: str
    timeframe: str
    number: int
    opens: int
    closes: int

    @property
    def name(self) -> str:
        return f"{self.market}-{self.timeframe}-{self.number}"


def parse_contract(
    name: str, markets: Sequence[str] = MARKETS, timeframes: Mapping[str, int] = TIMEFRAMES
) -> Contract:
    """The contract of that name. Raises `BadContract`."""
    market, _, rest = name.partition("-")
    timeframe, _, number = rest.partition("-")
    if market not in markets:
        raise BadContract(name, f"there is no market {market!r}")
    if timeframe not in timeframes:
        raise BadContract(name, f"there is no timeframe {timeframe!r}")
    if not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise BadContract(name, f"{number!r} is not the number of a period")
    return _contract(market, timeframe, int(number), timeframes[timeframe])


def contracts_within(
    since: int, until: int, markets: Sequence[str] = MARKETS, timeframes: Mapping[str, int] = TIMEFRAMES
) -> Iterator[Contract]:
    """Every contract whose whole period is within `since` to `until` (wall ns)."""
    for timeframe, period in timeframes.items():
        for number in range(-(-since // period), until // period):
            for market in markets:
                yield _contract(market, timeframe, number, period)


def contracts_at(
    t: int, markets: Sequence[str] = MARKETS, timeframes: Mapping[str, int] = TIMEFRAMES
) -> Iterator[Contract]:
    """Every contract that trades at `t` (wall ns)."""
    for timeframe, period in timeframes.items():
        for market in markets:
            yield _contract(market, timeframe, t // period, period)


def _contract(market: str, timeframe: str, number: int, period: int) -> Contract:
    return Contract(market, timeframe, number, number * period, (number + 1) * period)
