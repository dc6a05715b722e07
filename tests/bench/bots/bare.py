"""The bot of beat.py without neverblink: a plain loop that sleeps until each tick is due. The floor of figures 4 and 5.

It ticks until it is ended, and writes nothing.
"""

from __future__ import annotations

import os
import time

import msgspec

ROWS = int(os.environ.get("BENCH_ROWS", "0"))
TOUCHED = int(os.environ.get("BENCH_TOUCHED", "0"))
INTERVAL = int(os.environ.get("BENCH_INTERVAL", "1000000"))


class Candle(msgspec.Struct, frozen=True, array_like=True):
    at: int
    opened: float
    highest: float
    lowest: float
    closed: float


def main() -> None:
    candles = {row: Candle(row, 101.5, 102.25, 99.75, 100.0) for row in range(ROWS)}
    ticks = 0
    due = time.time_ns() // INTERVAL * INTERVAL + INTERVAL
    while True:
        time.sleep(max(0, due - time.time_ns()) / 1e9)
        due = max(due + INTERVAL, time.time_ns() // INTERVAL * INTERVAL)
        ticks += 1
        first = ticks * TOUCHED
        for touched in range(first, first + TOUCHED):
            candles[touched % ROWS] = Candle(touched, 101.5, 102.25, 99.75, 100.0)


main()
