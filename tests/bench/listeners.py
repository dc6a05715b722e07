"""What many listeners over HTTP cost a tick: 200 of them, of which 50 read slowly and one never reads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from neverblink.supervisor.audit.recent_ticks import RecentTick, RecentTicks

from ..web.served import Served
from ..whole.bots import bot
from ..whole.live import Live
from .figure import Figure, Scale, microseconds, number, row
from .spread import Spread, spread

__all__ = ["measure"]

_QUIET = """
def on_tick(self, tick):
    self.state.ticks += 1
"""
_COUNT, _SLOW = 200, 50


def measure(scale: Scale, tmp: Path) -> Figure:
    seconds = 3 * scale.seconds
    live = Live(tmp)
    try:
        served = Served(live)
        served.up(served.code("v1", bot(_QUIET, tick="50ms")))
        strip = RecentTicks(live.home / "journal")
        # The cost of starting is not part of the listeners' cost.
        time.sleep(1)
        alone = _late(strip, seconds)
        crowd = _crowd(served)
        try:
            watched = _late(strip, seconds)
            page = served.ask("GET", "/metrics", role="viewer").body.decode()
        finally:
            crowd.kill()
            crowd.wait()
        live.audit()
        live.down()
    finally:
        live.close()
    numbers = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
    ratio = watched.max / alone.max
    return Figure(
        f"{_COUNT} listeners over HTTP ({_SLOW} slow, one that never reads), 50 ms ticks, {seconds:.0f} s: late, µs",
        ("p50", "p99", "max"),
        [
            row("no listeners", alone, 1000),
            row("all of them listen", watched, 1000),
            ("worst, with them / without", "", "", number(ratio)),
            *(
                (
                    f"the web process: {what}",
                    "",
                    "",
                    number(float(numbers[f'neverblink_{name}{{bot="fox"}}']) / unit),
                )
                for what, name, unit in (
                    ("listeners now", "http_streams", 1),
                    ("cut off, because they did not read", "http_streams_dropped_total", 1),
                    ("memory, MB", "http_memory_bytes", 1e6),
                )
            ),
        ],
        {
            "listeners": {
                "alone_us": microseconds(alone),
                "watched_us": microseconds(watched),
                "worst_ratio": round(ratio, 2),
            }
        },
    )


def _late(strip: RecentTicks, seconds: float) -> Spread:
    """How late ticks begin during this time."""
    strip.look()
    seen = strip.since()
    place = (seen[-1].epoch, seen[-1].number)
    late: list[int] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.5)
        strip.look()
        found = strip.since(place)
        if found:
            place = (found[-1].epoch, found[-1].number)
        late += [item.late for item in found if isinstance(item, RecentTick)]
    return spread(late)


def _crowd(served: Served) -> subprocess.Popen[str]:
    """The listeners, in a separate process at the lowest priority."""
    arguments = [str(served.port), served.tokens["viewer"], str(_COUNT), str(_SLOW)]
    crowd = subprocess.Popen(
        [sys.executable, "-m", "tests.web.crowd", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
    )
    os.setpriority(os.PRIO_PROCESS, crowd.pid, 19)
    assert crowd.stdout is not None
    assert crowd.stdout.readline() == "here\n"
    return crowd
