"""Figure 7: how long the bot does not tick after its leader was killed, and how many ticks that misses, with a
standby and without.

The real supervisor, and a bot that ticks every 10 ms. The time is from the kill to the beginning of the successor's
first tick, which is at the earliest when the next one is due; both are read on the clock that processes share. Deaths
in a row are answered more and more slowly, so each run of the bot has as many as are answered at once.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec

from ..whole.bots import COUNTER
from ..whole.live import Live
from .figure import Figure, Scale, number
from .lived import frames
from .spread import Spread, spread
from .start import start

__all__ = ["measure"]


class _Failover(msgspec.Struct, frozen=True):
    took: int
    """From the death to the first tick, ns."""
    missed: int
    """Grid indices that no worker ran."""


class _Failovers(msgspec.Struct):
    took: Spread
    missed: Spread

    def data(self) -> dict[str, object]:
        return {
            "p50": round(self.took.p50 / 1e6, 3),
            "max": round(self.took.max / 1e6, 3),
            "missed": {"p50": self.missed.p50, "max": self.missed.max},
        }


def measure(scale: Scale, tmp: Path) -> Figure:
    times = 3 if scale.quick else 15
    standby = _many(tmp / "standby", times, a_life=3, standby=1)
    # One death in each run of the bot: the start of that takes nearly all of the time.
    alone = 2 if scale.quick else times
    journal = _many(tmp / "journal", alone, a_life=1, standby=0)
    (tmp / "bot.py").write_text(COUNTER)
    imported = spread(start(tmp) for _ in range(1 if scale.quick else 5)).p50
    rows = {"a standby": standby, "no standby: a new process, from the journal": journal}
    return Figure(
        f"From the leader's death to the successor's first tick, ms (tick 10 ms, {times} and {alone} deaths)",
        ("p50", "max", "ticks missed: p50", "max"),
        [
            (
                name,
                *(number(value / 1e6) for value in (found.took.p50, found.took.max)),
                *(number(value) for value in (found.missed.p50, found.missed.max)),
            )
            for name, found in rows.items()
        ],
        {"failover_ms": {"standby": standby.data(), "journal": journal.data()}},
        [f"an interpreter that imports the bot: {number(imported)} ms"],
    )


def _many(tmp: Path, times: int, *, a_life: int, standby: int) -> _Failovers:
    """So many failovers, `a_life` of them in each run of a supervisor."""
    found: list[_Failover] = []
    while len(found) < times:
        place = tmp / str(len(found))
        place.mkdir(parents=True)
        found += _life(place, min(a_life, times - len(found)), standby)
    return _Failovers(spread(item.took for item in found), spread(item.missed for item in found))


def _life(place: Path, times: int, standby: int) -> list[_Failover]:
    """Run the bot, and kill its leader so many times."""
    live = Live(place)
    deaths: list[int] = []
    try:
        live.up(live.code("v0", COUNTER, standby=standby))
        seen = 0
        for _ in range(times):
            if standby:
                live.event(type="standby", state="ready", since=seen)
            leader = live.book()["pid"]
            seen = len(live.events)
            deaths.append(time.monotonic_ns())
            os.kill(leader, signal.SIGKILL)
            # It is over when the successor has ticked.
            live.event(lambda event: event["outage"]["until"], type="outage", since=seen)
        live.down()
    finally:
        live.close()
    return _failovers(live.home / "journal", deaths)


def _failovers(journal: Path, deaths: list[int]) -> list[_Failover]:
    """For each death, the first tick after it of another epoch than the last one's before."""
    ticks = [frame for frame in frames(journal) if frame.kind == "tick"]
    found: list[_Failover] = []
    for death in deaths:
        epoch = max((tick.epoch for tick in ticks if tick.timing.mono <= death), default=0)
        # What the dying leader had begun before the kill may have ended after the clock was read.
        first = next(tick for tick in ticks if tick.timing.mono > death and tick.epoch > epoch)
        began = first.timing.mono - first.timing.took
        found.append(_Failover(began - death, sum(map(len, first.timing.gaps))))
    return found
