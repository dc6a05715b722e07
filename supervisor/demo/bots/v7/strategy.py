"""v7, which crashes on its third tick: it reads past the end of its table of weights."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Literal

WEIGHTS = (0.05, 0.04)
TICKS: Iterator[int] = count()


async def warm_up() -> None:
    """Prepare what the first tick needs."""


def follow(trend: dict[str, float], prices: Mapping[str, float]) -> None:
    weight = WEIGHTS[next(TICKS)]
    for market, price in prices.items():
        trend[market] = trend.get(market, price) * (1 - weight) + price * weight


def direction(price: float, trend: float) -> Literal["up", "down"]:
    return "up" if price > trend else "down"
