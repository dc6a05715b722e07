"""v4, which does not import: the module it needs is on its author's machine only."""

from collections.abc import Mapping
from typing import Literal

import indicators  # pyright: ignore


async def warm_up() -> None:
    """Whatever has to be ready before the first tick."""


def follow(trend: dict[str, float], prices: Mapping[str, float]) -> None:
    trend.update(indicators.smooth(trend, prices))  # pyright: ignore


def direction(price: float, trend: float) -> Literal["up", "down"]:
    return "up" if price > trend else "down"
