"""v6, which cannot read the state: it demands a limit that no state so far has, and says not where to get it."""

import msgspec


class Limits(msgspec.Struct):
    daily_loss: float
    lots: int = 3
