"""What a large value in the state costs a tick, and the journal: in a plain field, and in a `Cell`.

All bots run at the same time at 50 ticks a second, so what the machine does to one it does to the others. Processor
time is of all threads of a process; what goes into the journal is what the process has written to files.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from .cpu import cpu_of
from .figure import Figure, Scale, number
from .worker_pool import BenchPool

__all__ = ["measure"]

KINDS = {
    "none": "no large value",
    "plain": "a plain field, unchanged",
    "plain changed": "a plain field, changed in each tick",
    "cell": "a Cell, untouched",
    "cell changed": "a Cell, touched in each tick",
    "seldom changed": 'a Cell with every="1s", touched in each tick',
}


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure(
        "A value of 175 KB in the state, a pickled model (50 ticks a second, journal on)",
        ("µs of processor time a tick", "MB of journal a minute"),
    )
    data: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        pools: dict[str, BenchPool] = {}
        for kind in KINDS:
            home = tmp / kind.replace(" ", "-")
            home.mkdir()
            environment = {"BENCH_TICK": "20ms", "BENCH_VALUE": kind}
            pools[kind] = stack.enter_context(BenchPool(home, environment, "large_value:Large"))
            pools[kind].lead(pools[kind].start())
        # Until caches are warm and the first state is in every journal.
        time.sleep(0.5 if scale.quick else 2.0)
        began = {kind: _now(pool) for kind, pool in pools.items()}
        for pool in pools.values():
            pool.listen(scale.seconds / len(pools))
        for kind, pool in pools.items():
            (ticks, used, written, at), (ticks_then, used_then, written_then, then) = began[kind], _now(pool)
            cost = (used_then - used) / (ticks_then - ticks) / 1000
            rate = (written_then - written) / (then - at) * 60e9 / 1e6
            data[kind] = {"tick_us": round(cost, 1), "journal_mb_a_minute": round(rate, 2)}
            figure.rows.append((KINDS[kind], number(cost), number(rate)))
    figure.data = {"large_value": data}
    return figure


def _now(pool: BenchPool) -> tuple[int, int, int, int]:
    """Ticks so far, the processor time and the bytes written by the leader, and the time."""
    pid = pool.processes[pool.leader].pid
    ticks = pool.report(pool.leader).ticks
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return ticks, cpu_of(pid), int(fields["wchar"]), time.monotonic_ns()
