"""What the bot thinks: a price above its average goes on rising."""

from collections.abc import Mapping
from typing import Literal


async def warm_up() -> None:
    """Whatever has to be ready before the first tick."""


def follow(trend: dict[str, float], prices: Mapping[str, float]) -> None:
    """Let each market's average follow its price, one tick."""
    for market, price in prices.items():
        trend[market] = trend.get(market, price) * 0.99 + price * 0.01


def direction(price: float, trend: float) -> Literal["up", "down"]:
    return "up" if price > trend else "down"
