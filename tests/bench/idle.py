"""Figure 7: what the supervisor costs while a bot ticks a thousand times a second, and what each process holds."""

from __future__ import annotations

import time
from pathlib import Path

from ..whole.bots import bot
from ..whole.live import Live
from .cpu import cpu_of, memory_of
from .figure import Figure, Scale, number
from .spread import spread
from .worker_pool import BenchPool

__all__ = ["measure"]

_SETTLED = 0.5
_LEAST = 2.0
"""Seconds: an idle supervisor does some of its work once a second."""
_QUIET = """
def on_tick(self, tick):
    self.state.ticks += 1
"""


def measure(scale: Scale, tmp: Path) -> Figure:
    live = Live(tmp)
    try:
        up = live.up(live.code("v0", bot(_QUIET, tick="1ms"), probation="1h"))
        supervisor = up.pid
        leader = live.book()["pid"]
        # By then, the cost of its own start and the bot's is over.
        time.sleep(_SETTLED)
        share = _share(supervisor, max(_LEAST, scale.seconds))
        asked = [_asked(live) for _ in range(100 if scale.quick else 1000)]
        held = {"leader": memory_of(leader), "supervisor": memory_of(supervisor)}
        live.phase(live.begin(live.code("v1", bot(_QUIET, tick="1ms"), probation="1h")), "probation")
        # The worker that led before is the follower now.
        held["follower"] = memory_of(leader)
        live.down()
    finally:
        live.close()
    status = spread(asked)
    frames = _frames(tmp / "stream", scale.seconds)
    return Figure(
        "A bot that ticks 1 000 times a second, small state",
        ("",),
        [
            ("supervisor, idle: % of a core", number(share * 100)),
            *((f"memory of the {name}, MB", number(held[name])) for name in held),
            ("`status` round trip, µs: p50", number(status.p50 / 1000)),
            ("`status` round trip, µs: p99", number(status.p99 / 1000)),
            ("frames a second that a core can make, or follow", number(frames)),
        ],
        {
            "memory_mb": {name: round(size, 1) for name, size in held.items()},
            "supervisor_idle_percent": round(share * 100, 2),
        },
    )


def _share(pid: int, seconds: float) -> float:
    before, began = cpu_of(pid), time.monotonic_ns()
    time.sleep(seconds)
    return (cpu_of(pid) - before) / (time.monotonic_ns() - began)


def _asked(live: Live) -> int:
    began = time.monotonic_ns()
    live.status()
    return time.monotonic_ns() - began


def _frames(tmp: Path, seconds: float) -> float:
    """Frames a second that the busier of leader and follower could do on a core of its own, ticks included."""
    with BenchPool(tmp, {"BENCH_TICK": "1ms", "BENCH_ROWS": "10", "BENCH_TOUCHED": "1"}) as pool:
        leader = pool.start()
        pool.lead(leader)
        follower = pool.start()
        pool.follow(follower)
        both = [pool.processes[worker].pid for worker in (leader, follower)]
        first, before = pool.report(follower).number, [cpu_of(pid) for pid in both]
        pool.listen(seconds)
        last, after = pool.report(follower).number, [cpu_of(pid) for pid in both]
    used = max(now - then for now, then in zip(after, before, strict=True))
    return (last - first) / (used / 1e9)
