"""Figures 1 and 2: the blackout of many handoffs in a row, with a small state and with a large one.

It is what the new leader writes into the frame that opens its epoch: from the last boundary of the old one, when that
can no longer tick, to the moment in which the new one can; both read CLOCK_MONOTONIC, which processes share.
"""

from __future__ import annotations

from pathlib import Path

from .figure import Figure, Scale, microseconds, row
from .lived import lived
from .spread import spread
from .worker_pool import BenchPool

__all__ = ["alternate", "measure"]


def measure(scale: Scale, tmp: Path) -> Figure:
    with BenchPool(tmp, {"BENCH_TICK": "10ms", "BENCH_ROWS": "10", "BENCH_TOUCHED": "1"}) as pool:
        pool.lead(pool.start())
        pool.follow(pool.start())
        alternate(pool, scale.handoffs)
        pool.stop()
    found = spread(lived(pool.journal).blackouts)
    return Figure(
        f"Blackout of {scale.handoffs} handoffs in a row, small state, 100 ticks a second, µs",
        ("p50", "p99", "max"),
        [row("blackout", found, 1000)],
        {"blackout_us": {"small": microseconds(found)}},
    )


def alternate(pool: BenchPool, handoffs: int) -> None:
    """Have the two workers hand over back and forth."""
    first, second = pool.processes
    for _ in range(handoffs):
        pool.hand_over(second if pool.leader == first else first)
