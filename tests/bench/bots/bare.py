"""The bot of beat.py without neverblink: a plain loop that sleeps until each tick is due. The floor of figures 4 and 5.

It ticks until SIGTERM, then prints how late each tick began, in ns, as one JSON list. It ends after ten minutes in any
case, even if the process that started it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import msgspec

ROWS = int(os.environ.get("BENCH_ROWS", "0"))
TOUCHED = int(os.environ.get("BENCH_TOUCHED", "0"))
INTERVAL = int(os.environ.get("BENCH_INTERVAL", "1000000"))
OFFSET = INTERVAL // 2
"""Its ticks lie between the other bot's: they are not to wait for one another's core."""


class Candle(msgspec.Struct, frozen=True, array_like=True):
    at: int
    opened: float
    highest: float
    lowest: float
    closed: float


def main() -> None:
    late: list[int] = []

    def end(*_: object) -> None:
        print(json.dumps(late), flush=True)
        sys.exit()

    signal.signal(signal.SIGTERM, end)
    signal.alarm(600)
    candles = {row: Candle(row, 101.5, 102.25, 99.75, 100.0) for row in range(ROWS)}
    ticks = 0
    due = time.time_ns() // INTERVAL * INTERVAL + OFFSET
    while True:
        due = max(due + INTERVAL, time.time_ns() // INTERVAL * INTERVAL + OFFSET)
        # clock_nanosleep with an absolute time, since Python 3.11.
        time.sleep(max(0, due - time.time_ns()) / 1e9)
        late.append(max(0, time.time_ns() - due))
        ticks += 1
        first = ticks * TOUCHED
        for touched in range(first, first + TOUCHED):
            candles[touched % ROWS] = Candle(touched, 101.5, 102.25, 99.75, 100.0)


main()
