"""v6, which cannot read the state: it requires a limit that the state does not have, without a default."""

import msgspec


class Limits(msgspec.Struct):
    daily_loss: float
    lots: int = 3
