"""The bot that is measured: it does nearly nothing, so that what is left is neverblink's.

Told by the environment: BENCH_TICK, the interval; BENCH_ROWS, entries in its table; BENCH_TOUCHED, how many of them
change each tick, until the command `touch` says otherwise; BENCH_FIELDS, bytes of state beside the table.
"""

from __future__ import annotations

import os

import msgspec

from neverblink.worker import Table, Tick, Worker

ROWS = int(os.environ.get("BENCH_ROWS", "0"))
TOUCHED = int(os.environ.get("BENCH_TOUCHED", "0"))
FIELDS = int(os.environ.get("BENCH_FIELDS", "100"))

_A_TICK = 20_000
"""Rows written in one tick while the table is filled: one frame must not grow too large."""


class Candle(msgspec.Struct, frozen=True, array_like=True):
    """About 50 bytes with its key."""

    at: int
    opened: float
    highest: float
    lowest: float
    closed: float


class Position(msgspec.Struct):
    market: str
    size: float
    price: float


class Book(msgspec.Struct):
    ticks: int = 0
    positions: list[Position] = []
    candles: Table[int, Candle] = msgspec.field(default_factory=Table)


class Beat(Worker[Book]):
    tick = os.environ.get("BENCH_TICK", "10ms")
    touched = TOUCHED

    def on_tick(self, tick: Tick[Book]) -> None:
        state = self.state
        state.ticks += 1
        candles = state.candles
        if len(candles) < ROWS or not state.positions:
            self.fill()
            return
        first = state.ticks * self.touched
        for touched in range(first, first + self.touched):
            candles[touched % ROWS] = Candle(touched, 101.5, 102.25, 99.75, 100.0)

    def fill(self) -> None:
        state = self.state
        # One is 47 bytes, encoded.
        state.positions = [
            Position(f"MARKET-{number:06d}", 1.5, 101.25) for number in range(max(1, FIELDS // 47))
        ]
        at = len(state.candles)
        for row in range(at, min(ROWS, at + _A_TICK)):
            state.candles[row] = Candle(row, 101.5, 102.25, 99.75, 100.0)

    def on_command(self, name: str, args: dict[str, int]) -> int:
        if name == "touch":
            self.touched = args["keys"]
        return len(self.state.candles)
