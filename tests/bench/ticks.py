"""Figure 3: a thousand ticks a second with frequent handoffs: is any missed or run twice, and how late are they?"""

from __future__ import annotations

import time
from pathlib import Path

from .blackout import alternate
from .figure import Figure, Scale, microseconds, number, row
from .lived import lived
from .spread import spread
from .worker_pool import BenchPool

__all__ = ["measure"]


def measure(scale: Scale, tmp: Path) -> Figure:
    with BenchPool(tmp, {"BENCH_TICK": "1ms", "BENCH_ROWS": "10", "BENCH_TOUCHED": "1"}) as pool:
        pool.lead(pool.start())
        pool.follow(pool.start())
        began = time.time_ns()
        alternate(pool, scale.handoffs)
        ended = time.time_ns()
        pool.stop()
    found = lived(pool.journal, after=began)
    report = found.report
    skipped = found.absent("skipped", ended)
    late = spread(late for due, late in found.late if due <= ended)
    blackout = spread(found.blackouts)
    return Figure(
        f"{scale.handoffs} handoffs in a row at 1 000 ticks a second, µs",
        ("p50", "p99", "max"),
        [
            row("ticks' lateness", late, 1000),
            row("blackout", blackout, 1000),
            ("missed: no worker could run them", str(report.missed), "", ""),
            ("doubled", str(report.doubled), "", ""),
            ("skipped: their own leader was too late for them", str(skipped), "", ""),
        ],
        {
            "ticks_1khz": {
                "handoffs": len(found.blackouts),
                "missed": report.missed,
                "doubled": report.doubled,
                "skipped": skipped,
                "late_us": microseconds(late),
            }
        },
        [
            f"{len(found.late)} ticks ran",
            f"{number(scale.handoffs / ((ended - began) / 1e9))} handoffs a second",
        ],
    )
