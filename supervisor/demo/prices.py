"""Made-up prices: a random walk for each market, reproducible by seed, and the value of contracts on them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from .contracts import MARKETS, TIMEFRAMES, Contract
from .ledger import Direction

__all__ = ["Prices"]

_STEP = 0.0004
"""The typical relative change of a price in one step."""

_STEEP = 600.0
"""How strongly a relative rise raises the odds that the market ends its period higher."""


class Prices:
    """The walk. `now` is each market's price; `step` moves them."""

    def __init__(
        self, seed: int, markets: Sequence[str] = MARKETS, timeframes: Mapping[str, int] = TIMEFRAMES
    ) -> None:
        self._chance = random.Random(seed)
        self._timeframes = timeframes
        self.now = {market: round(100.0 * 1.5**place, 4) for place, market in enumerate(markets)}
        self._opened: dict[tuple[str, int], dict[str, float]] = {}

    def step(self, at: int) -> None:
        """Advance to `at` (wall ns), and record the prices at which periods begin."""
        for market, price in self.now.items():
            self.now[market] = round(price * math.exp(self._chance.gauss(0.0, _STEP)), 4)
        for timeframe, period in self._timeframes.items():
            self._opened.setdefault((timeframe, at // period), dict(self.now))

    def worth(self, contract: Contract, direction: Direction) -> float:
        """The price of one lot, 0 to 1: the odds while the period runs, then 1 if it won and 0 if it lost."""
        opened = self._opened.get((contract.timeframe, contract.number), self.now)[contract.market]
        closed = self._opened.get((contract.timeframe, contract.number + 1))
        if closed is not None:
            up = 1.0 if closed[contract.market] > opened else 0.0
        else:
            risen = self.now[contract.market] / opened - 1.0
            up = 1.0 / (1.0 + math.exp(-_STEEP * risen))
        return round(up if direction == "up" else 1.0 - up, 4)
