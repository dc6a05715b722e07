"""Figure 4: what a tick costs with neverblink, over the same bot in a bare loop.

It is processor time, of all threads of the process and of the kernel on its behalf, at 1 000 ticks a second, with the
journal on and 2 KB of state beside the table: `(neverblink's - the bare loop's) / ticks`. Both run at the same time, so
what the machine does to one it does to the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from .cpu import cpu_of
from .figure import Figure, Scale, number
from .worker_pool import BOTS, BenchPool

__all__ = ["measure"]

_ROWS = 10_000
_INTERVAL = 1_000_000


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure(
        "What a tick costs, µs of processor time (2 KB of state, journal on, 1 000 ticks a second)",
        ("neverblink", "bare loop", "over it"),
    )
    costs: dict[str, float] = {}
    environment = {
        "BENCH_TICK": f"{_INTERVAL // 1000}us",
        "BENCH_INTERVAL": str(_INTERVAL),
        "BENCH_ROWS": str(_ROWS),
        "BENCH_FIELDS": "2048",
    }
    with BenchPool(tmp, environment) as pool:
        leader = pool.start()
        pool.lead(leader)
        pool.until(lambda: pool.ask("rows") == _ROWS, "a full table")
        for touched in (0, 10, 100):
            pool.ask("touch", {"keys": touched})
            ours, bare = _both(pool, leader, {**environment, "BENCH_TOUCHED": str(touched)}, scale)
            costs[str(touched)] = round(ours - bare, 2)
            figure.rows.append((f"{touched} keys touched", number(ours), number(bare), number(ours - bare)))
    figure.data = {"tick_cost_us": costs}
    return figure


def _both(pool: BenchPool, leader: str, environment: dict[str, str], scale: Scale) -> tuple[float, float]:
    """Processor time per tick in µs, with neverblink and without."""
    bare = subprocess.Popen([sys.executable, "bare.py"], cwd=BOTS, env={**os.environ, **environment})
    try:
        # Until caches are warm and imports are over.
        pool.listen(0.3 if scale.quick else 1.0)
        pid = pool.processes[leader].pid
        ran, ours, theirs, began = _now(pool, leader, pid, bare.pid)
        pool.listen(scale.seconds)
        ticks, ours_then, theirs_then, ended = _now(pool, leader, pid, bare.pid)
    finally:
        bare.kill()
        bare.wait()
    bare_ticks = (ended - began) / _INTERVAL
    return (ours_then - ours) / (ticks - ran) / 1000, (theirs_then - theirs) / bare_ticks / 1000


def _now(pool: BenchPool, leader: str, ours: int, bare: int) -> tuple[int, int, int, int]:
    """Ticks so far, the processor time of both, and the time."""
    return pool.report(leader).ticks, cpu_of(ours), cpu_of(bare), time.monotonic_ns()
