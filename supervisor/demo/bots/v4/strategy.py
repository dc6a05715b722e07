"""v4, which cannot be imported: it needs a module that only its author's machine has."""

from collections.abc import Mapping
from typing import Literal

import indicators  # pyright: ignore


async def warm_up() -> None:
    """Prepare what the first tick needs."""


def follow(trend: dict[str, float], prices: Mapping[str, float]) -> None:
    trend.update(indicators.smooth(trend, prices))  # pyright: ignore


def direction(price: float, trend: float) -> Literal["up", "down"]:
    return "up" if price > trend else "down"
