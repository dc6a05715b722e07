"""For the picture: the blackout against the size of the state."""

from __future__ import annotations

from pathlib import Path

from .blackout import alternate
from .figure import Figure, Scale, row
from .lived import lived
from .spread import spread
from .worker_pool import BenchPool

__all__ = ["measure"]


def measure(scale: Scale, tmp: Path) -> Figure:
    handoffs = 20 if scale.quick else 100
    figure = Figure(f"Blackout of {handoffs} handoffs, by entries in the table, µs", ("p50", "p99", "max"))
    medians: list[tuple[float, float]] = []
    for rows in (100, 1000, 10_000, 100_000):
        environment = {"BENCH_TICK": "10ms", "BENCH_ROWS": str(rows), "BENCH_TOUCHED": "100"}
        with BenchPool(tmp / str(rows), environment) as pool:
            pool.lead(pool.start())
            pool.until(lambda pool=pool, rows=rows: pool.ask("rows") == rows, "a full table")
            pool.follow(pool.start())
            alternate(pool, handoffs)
            pool.stop()
        found = spread(lived(pool.journal).blackouts)
        figure.rows.append(row(f"{rows:,} entries", found, 1000))
        medians.append((rows, found.p50 / 1000))
    figure.marks = {"size: neverblink": medians}
    return figure
