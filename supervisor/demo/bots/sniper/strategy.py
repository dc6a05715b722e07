"""The strategy: a price above its average is expected to keep rising."""

from collections.abc import Mapping
from typing import Literal


async def warm_up() -> None:
    """Prepare what the first tick needs."""


def follow(trend: dict[str, float], prices: Mapping[str, float]) -> None:
    """Update each market's average with its price, once per tick."""
    for market, price in prices.items():
        trend[market] = trend.get(market, price) * 0.99 + price * 0.01


def direction(price: float, trend: float) -> Literal["up", "down"]:
    return "up" if price > trend else "down"
