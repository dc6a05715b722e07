"""Trades, and the candles that are made of them. Times are in milliseconds, prices in cents, sizes in lots."""

import msgspec

TIMEFRAMES = {"1m": 60_000, "5m": 300_000}


class Trade(msgspec.Struct, frozen=True, tag="trade"):
    """`n` counts a symbol's trades from 1."""

    symbol: str
    n: int
    at: int
    price: int
    size: int


class Candle(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    timeframe: str
    opens: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    first: int
    """The number of the first trade in it."""
    last: int

    def add(self, trade: Trade) -> "Candle":
        return msgspec.structs.replace(
            self,
            high=max(self.high, trade.price),
            low=min(self.low, trade.price),
            close=trade.price,
            volume=self.volume + trade.size,
            last=trade.n,
        )


def begin(trade: Trade, timeframe: str) -> Candle:
    """The candle whose first trade this is."""
    length = TIMEFRAMES[timeframe]
    return Candle(
        symbol=trade.symbol,
        timeframe=timeframe,
        opens=trade.at // length * length,
        open=trade.price,
        high=trade.price,
        low=trade.price,
        close=trade.price,
        volume=trade.size,
        first=trade.n,
        last=trade.n,
    )


def belongs(trade: Trade, candle: Candle) -> bool:
    return trade.at < candle.opens + TIMEFRAMES[candle.timeframe]
