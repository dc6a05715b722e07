"""Figure: how many events a second a bot takes, with the journal on, and the blackout of handoffs under a load.

"At most" is what one process takes when a task of its own feeds it as fast as it applies. Beside it, a plain asyncio
queue, whose reader decodes each event and writes 200 bytes for it. All of it runs in turn, several times, and the
medians are compared: what else the machine does, it does to each of them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from .blackout import alternate
from .cpu import cpu_of
from .figure import Figure, Scale, microseconds, number
from .lived import lived
from .spread import spread
from .worker_pool import BOTS, BenchPool

__all__ = ["measure"]

_KINDS = {
    "a turn each (on_event)": "flood:Each",
    "batches (on_events)": "flood:Batches",
    "a loop at 100 Hz (join)": "flood:loop",
}
_QUEUE = "a plain asyncio queue"
_LOAD = 50_000
_QUICK_LOAD = 5_000
"""A quick run is one among other processes, which do not leave the two workers a core each."""


def measure(scale: Scale, tmp: Path) -> Figure:
    rounds, seconds = (2, 0.5) if scale.quick else (5, 2.0)
    rates: dict[str, list[float]] = {name: [] for name in (*_KINDS, _QUEUE)}
    costs: dict[str, list[float]] = {name: [] for name in _KINDS}
    for turn in range(rounds):
        for kind, (name, target) in enumerate(_KINDS.items()):
            rate, cost = _rate(tmp / f"{turn}-{kind}", target, seconds)
            rates[name].append(rate)
            costs[name].append(cost)
        rates[_QUEUE].append(_queue(tmp / "records", seconds))
    found = {name: statistics.median(of) for name, of in rates.items()}
    figure = Figure("Events a second, with the journal on", ("at most", "µs of processor time each"))
    for name, rate in found.items():
        cost = number(statistics.median(costs[name])) if name in costs else "-"
        figure.rows.append((name, f"{rate:,.0f}", cost))
    sent = _QUICK_LOAD if scale.quick else _LOAD
    load = _under_load(scale, sent, tmp / "load")
    figure.notes.append(
        f"blackout of handoffs under {sent:,} events a second in batches, µs: "
        + ", ".join(f"{name} {number(value)}" for name, value in load.items())
    )
    figure.data = {
        "events_per_second": {name: round(rate) for name, rate in found.items()},
        "events_blackout_us": load,
    }
    return figure


def _rate(home: Path, target: str, seconds: float) -> tuple[float, float]:
    """How many events a second the bot applies, and the processor time of each, µs."""
    with BenchPool(home, {}, target) as pool:
        leader = pool.start()
        pool.lead(leader)
        pool.listen(0.3)
        pid = pool.processes[leader].pid
        before, cpu, began = _applied(pool), cpu_of(pid), time.monotonic()
        pool.listen(seconds)
        events, used = _applied(pool) - before, cpu_of(pid) - cpu
        return events / (time.monotonic() - began), used / 1000 / events


def _applied(pool: BenchPool) -> int:
    applied = pool.ask("applied")
    assert isinstance(applied, int)
    return applied


def _queue(records: Path, seconds: float) -> float:
    """How many events a second go through a plain asyncio queue."""
    told = [sys.executable, "queue_floor.py", str(seconds), str(records)]
    rate = float(subprocess.run(told, cwd=BOTS, check=True, capture_output=True, text=True).stdout)
    records.unlink()
    return rate


def _under_load(scale: Scale, rate: int, home: Path) -> dict[str, float]:
    """The blackout of handoffs back and forth, µs, while both workers receive the same events."""
    with BenchPool(home, {"BENCH_RATE": str(rate)}, "flood:Batches") as pool:
        pool.lead(pool.start())
        pool.follow(pool.start())
        pool.listen(0.5)
        alternate(pool, scale.handoffs_large)
        pool.stop()
        return microseconds(spread(lived(pool.journal).blackouts))
