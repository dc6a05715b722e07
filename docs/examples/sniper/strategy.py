"""The strategy, in pure functions: change it, deploy it, and the bot goes on with its positions."""

from typing import Literal

Direction = Literal["up", "down"]

SMOOTHING = 0.02


def follow(average: float | None, price: float) -> float:
    """A market's moving average after another price."""
    return price if average is None else average + SMOOTHING * (price - average)


def direction(opened: float, price: float, average: float) -> Direction:
    """Which way a contract will end. `opened` is the price at which its period began.

    A price that is above its opening late in the period will mostly stay there; the average decides a draw.
    """
    if price == opened:
        return "up" if price >= average else "down"
    return "up" if price > opened else "down"
