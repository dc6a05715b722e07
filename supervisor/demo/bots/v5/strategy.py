"""v5, which hangs while it starts: it waits for a history that never comes."""

import asyncio
from collections.abc import Mapping
from typing import Literal


async def warm_up() -> None:
    history: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
    await history


def follow(trend: dict[str, float], prices: Mapping[str, float]) -> None:
    trend.update(prices)


def direction(price: float, trend: float) -> Literal["up", "down"]:
    return "up" if price > trend else "down"
