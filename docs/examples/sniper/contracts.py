"""Contracts on up or down: each market has one for every five and one for every fifteen minutes.

A contract is named for its market, its timeframe and the number of its period since 1970: BTC-5m-5923004.
"""

import os

import msgspec
from neverblink.worker import Window

MARKETS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "LTC", "ADA")

SPEEDUP = int(os.environ.get("SPEEDUP", "1"))
"""To try the bot without waiting: with 60, what is called five minutes lasts five seconds. The market has the same."""

_SECOND = 1_000_000_000


class Timeframe(msgspec.Struct, frozen=True):
    name: str
    period: int
    """ns"""
    window: Window
    """When the bot buys. No deployment interrupts it."""

    def contract(self, market: str, at: int) -> str:
        """The contract that trades at the time `at`, ns."""
        return f"{market}-{self.name}-{at // self.period}"

    def entries(self, now: int) -> dict[str, int]:
        """When to buy each contract of the next window: one after another, in the window's first four fifths."""
        span = self.window.next(now)
        step = (span.closes - span.opens) * 4 // 5 // len(MARKETS)
        return {
            self.contract(market, span.opens): span.opens + place * step
            for place, market in enumerate(MARKETS)
        }


def _timeframe(name: str, minutes: int, opens: int, closes: int) -> Timeframe:
    """A timeframe whose window opens and closes so many seconds before the end of its period."""
    period, before, after = (seconds * _SECOND // SPEEDUP for seconds in (minutes * 60, opens, closes))
    return Timeframe(
        name, period, Window(f"{period}ns", opens=f"-{before}ns", closes=f"-{after}ns", name=name)
    )


TIMEFRAMES = {
    "5m": _timeframe("5m", 5, opens=40, closes=5),
    "15m": _timeframe("15m", 15, opens=90, closes=45),
}


def series(contract: str) -> str:
    """A contract's market and timeframe: BTC-5m."""
    return contract.rpartition("-")[0]


def market_of(contract: str) -> str:
    return contract.partition("-")[0]
