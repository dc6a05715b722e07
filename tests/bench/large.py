"""Figures 2, 3 and 7 for a large state: a Table of a million entries (about 50 MB), 100 of which change each tick.

How late ticks are while all of it is first copied to a new worker, the blackout of handoffs after that, what the
processes hold of memory, and how long the journal takes to give it back when no worker is left that holds it.
"""

from __future__ import annotations

import time
from pathlib import Path

from .blackout import alternate
from .cpu import memory_of
from .figure import Figure, Scale, microseconds, number, row
from .lived import lived
from .spread import spread
from .worker_pool import BenchPool

__all__ = ["measure"]


def measure(scale: Scale, tmp: Path) -> Figure:
    settled = 0.2 if scale.quick else 1.0
    environment = {"BENCH_TICK": "10ms", "BENCH_ROWS": str(scale.rows), "BENCH_TOUCHED": "100"}
    with BenchPool(tmp, environment) as pool:
        pool.lead(pool.start())
        pool.until(lambda: pool.ask("rows") == scale.rows, "a full table")
        pool.listen(settled)
        successor = pool.start()
        copied = time.time_ns()
        pool.follow(successor)
        began = time.time_ns()
        alternate(pool, scale.handoffs_large)
        ended = time.time_ns()
        pool.listen(settled)
        memory = {name: memory_of(process.pid) for name, process in pool.processes.items()}
        leader = memory.pop(pool.leader)
        [follower] = memory.values()
        for process in pool.processes.values():
            process.kill()
            process.wait()
        successor = pool.start()
        asked = time.monotonic()
        pool.lead(successor)
        recovered = time.monotonic() - asked
        pool.stop()
        rehearsal = pool.rehearsed
    found = lived(pool.journal, after=copied)
    report = found.report
    while_copied = spread(late for due, late in found.late if due <= began)
    in_handoffs = spread(late for due, late in found.late if began < due <= ended)
    blackout = spread(found.blackouts)
    missed, skipped = found.absent("missed", ended), found.absent("skipped", ended)
    copy = next(iter(rehearsal.values()))
    return Figure(
        f"A table of {scale.rows:,} entries ({copy.bytes / 1e6:.0f} MB encoded), 100 changed each tick, "
        f"100 ticks a second, µs",
        ("p50", "p99", "max"),
        [
            row(f"blackout of {len(found.blackouts)} handoffs", blackout, 1000),
            row("ticks' lateness while it is copied", while_copied, 1000),
            row("ticks' lateness in the handoffs", in_handoffs, 1000),
            ("missed, in both", str(missed), "", ""),
            ("doubled", str(report.doubled), "", ""),
            ("skipped: their own leader was too late for them", str(skipped), "", ""),
        ],
        {
            "blackout_us": {"table_1m": microseconds(blackout)},
            "ticks_table_1m": {
                "handoffs": len(found.blackouts),
                "missed": missed,
                "doubled": report.doubled,
                "skipped": skipped,
                "copied_late_us": microseconds(while_copied),
                "late_us": microseconds(in_handoffs),
                "recovered_s": round(recovered, 3),
            },
        },
        [
            f"copied in {(began - copied) / 1e9:.1f} s; the journal gives it back in {recovered:.1f} s",
            f"memory: leader {number(leader)} MB, follower {number(follower)} MB",
        ],
        {"size: neverblink": [(scale.rows, blackout.p50 / 1000)]},
    )
