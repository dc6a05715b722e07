"""v7, which crashes on its third tick: its weights are a table, and the table ends."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Literal

WEIGHTS = (0.05, 0.04)
TICKS: Iterator[int] = count()


async def warm_up() -> None:
    """Whatever has to be ready before the first tick."""


def follow(trend: dict[str, float], prices: Mapping[str, float]) -> None:
    weight = WEIGHTS[next(TICKS)]
    for market, price in prices.items():
        trend[market] = trend.get(market, price) * (1 - weight) + price * weight


def direction(price: float, trend: float) -> Literal["up", "down"]:
    return "up" if price > trend else "down"
