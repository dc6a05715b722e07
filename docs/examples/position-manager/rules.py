"""When to leave a position, in pure functions: change a rule, deploy it, and it holds for every open position."""

from typing import Annotated

import msgspec

from book import Position

Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class Limits(msgspec.Struct, frozen=True):
    """What an operator may change while the bot runs: `neverblink settings trail=0.005`."""

    stop_loss: Share = 0.01
    """Leave when the price is this share below the entry."""
    trail: Share = 0.004
    """Leave when the price is this share below the best price since the entry."""
    max_age: Annotated[int, msgspec.Meta(ge=1)] = 60
    """Leave after this many seconds."""


def stop_of(position: Position, limits: Limits) -> int:
    """The price at which to leave: it rises with the best price, and never falls."""
    return round(max(position.entry * (1 - limits.stop_loss), position.best * (1 - limits.trail)))


def why_leave(position: Position, price: int, limits: Limits) -> str:
    """The reason to leave at this price; "" to stay."""
    if price > stop_of(position, limits):
        return ""
    return "trailing stop" if position.best > position.entry else "stop"
