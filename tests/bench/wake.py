"""Figure 5: how late the ticks begin, beside a bare loop that runs in the same seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .figure import Figure, Scale, number
from .lived import lived
from .spread import Spread, spread
from .worker_pool import BOTS, BenchPool

__all__ = ["measure"]

_FEW = 100
"""A 99th percentile of fewer ticks than this is one tick's lateness, and says nothing."""
_LONGEST = 2.0
"""Seconds, for a quick run."""


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure(
        "How late ticks begin, µs", ("p50", "p99", "bare p50", "bare p99", "ratio p50", "ratio p99")
    )
    ratios: list[float] = []
    for interval in (1_000_000, 10_000_000, 100_000_000):
        seconds = max(scale.seconds, _FEW * interval / 1e9 * 1.1)
        if scale.quick and seconds > _LONGEST:
            figure.notes.append(f"every {interval // 1_000_000} ms is left out: --quick is too short for it")
            continue
        ours, bare, ticks = _both(tmp / str(interval), interval, seconds)
        ratio = ours.p99 / bare.p99
        if ticks >= _FEW:
            ratios.append(ratio)
        figure.rows.append(
            (
                f"every {interval // 1_000_000} ms ({ticks} ticks)",
                *(number(value / 1000) for value in (ours.p50, ours.p99, bare.p50, bare.p99)),
                number(ours.p50 / bare.p50),
                number(ratio),
            )
        )
    figure.data = {"wake_late_ratio_p99": round(max(ratios), 2) if ratios else None}
    return figure


def _both(tmp: Path, interval: int, seconds: float) -> tuple[Spread, Spread, int]:
    environment = {"BENCH_TICK": f"{interval // 1000}us", "BENCH_INTERVAL": str(interval)}
    with BenchPool(tmp, environment) as pool:
        leader = pool.start()
        pool.lead(leader)
        bare = subprocess.Popen(
            [sys.executable, "bare.py"], cwd=BOTS, env={**os.environ, **environment}, stdout=subprocess.PIPE
        )
        try:
            pool.listen(0.3)
            began = time.time_ns()
            pool.listen(seconds)
            bare.terminate()
            output, _ = bare.communicate(timeout=10)
        finally:
            bare.kill()
        pool.stop()
    late = [late for _, late in lived(pool.journal, after=began).late]
    theirs: list[int] = json.loads(output)[-len(late) :]
    return spread(late), spread(theirs), len(late)
