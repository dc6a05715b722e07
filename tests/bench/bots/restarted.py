"""The bot as it is without neverblink: its state goes through a file, and new code comes by a restart.

    restarted.py DIRECTORY [ENTRIES]

It ticks every 10 ms. SIGTERM: it saves its state and ends. SIGUSR1: it saves and executes itself again in place
(`execv`). SIGUSR2: its handler's module is read again (`importlib.reload`), with the state where it is. DIRECTORY/marks
says, on the clock that processes share, `stops NS` when it can no longer tick and `able NS` when it can. It ends
after ten minutes in any case, even if the process that started it is gone.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

import msgspec

PLACE = Path(sys.argv[1])
ENTRIES = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
INTERVAL = 10_000_000

Book = dict[int, tuple[int, float, float, float, float]]


def mark(word: str, at: int) -> None:
    with open(PLACE / "marks", "a", encoding="ascii") as marks:
        marks.write(f"{word} {at}\n")


def load() -> Book:
    try:
        return msgspec.msgpack.decode((PLACE / "state").read_bytes(), type=Book)
    except FileNotFoundError:
        return {row: (row, 101.5, 102.25, 99.75, 100.0) for row in range(ENTRIES)}


def save(book: Book) -> None:
    unfinished = PLACE / "state.new"
    unfinished.write_bytes(msgspec.msgpack.encode(book))
    unfinished.rename(PLACE / "state")


def handler() -> ModuleType:
    sys.path.insert(0, str(PLACE))
    return importlib.import_module("strategy")


def main() -> None:
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _frame: asked.append(number))
    signal.alarm(600)
    book, strategy = load(), handler()
    mark("able", time.monotonic_ns())
    due = time.time_ns() // INTERVAL * INTERVAL
    while True:
        due = max(due + INTERVAL, time.time_ns() // INTERVAL * INTERVAL)
        time.sleep(max(0, due - time.time_ns()) / 1e9)
        strategy.on_tick(book)
        while asked:
            stopped = time.monotonic_ns()
            number = asked.pop()
            if number == signal.SIGUSR2:
                strategy = importlib.reload(strategy)
                able = time.monotonic_ns()
                mark("stops", stopped)
                mark("able", able)
                continue
            save(book)
            mark("stops", stopped)
            if number == signal.SIGUSR1:
                os.execv(sys.executable, [sys.executable, *sys.argv])
            sys.exit()


main()
