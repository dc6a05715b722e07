"""Figure 7: how long nobody leads after the leader was killed, with a worker that follows it and without."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from neverblink.protocol.frame import Led

from ..whole.bots import COUNTER
from ..whole.live import Live
from .crew import Crew
from .figure import Figure, Scale, row
from .lived import frames
from .spread import Spread, spread

__all__ = ["measure"]


def measure(scale: Scale, tmp: Path) -> Figure:
    times = 3 if scale.quick else 15
    standby = _with_standby(tmp / "standby", times)
    journal = _from_journal(tmp / "journal", times)
    return Figure(
        "From the leader's death to the next leader able to tick, ms (small state)",
        ("p50", "p99", "max"),
        [
            row("a worker that follows it", standby, 1e6),
            row("nobody: a new process, from the journal", journal, 1e6),
        ],
        {
            "failover_ms": {
                "standby": round(standby.p50 / 1e6, 3),
                "journal": round(journal.p50 / 1e6, 3),
            }
        },
    )


def _with_standby(tmp: Path, times: int) -> Spread:
    deaths: list[int] = []
    with Crew(tmp, {"BENCH_TICK": "10ms", "BENCH_ROWS": "10", "BENCH_TOUCHED": "1"}) as crew:
        crew.lead(crew.start())
        for _ in range(times):
            spare = crew.start()
            crew.follow(spare, guard=True)
            deaths.append(time.monotonic_ns())
            crew.processes[crew.leader].kill()
            crew.until(lambda spare=spare: crew.reports[spare].role == "leading", "a failover")
            crew.processes[crew.leader].wait()
            crew.leader = spare
        crew.stop()
    return spread(_outages(crew.journal, deaths))


def _from_journal(tmp: Path, times: int) -> Spread:
    tmp.mkdir()
    live = Live(tmp)
    deaths: list[int] = []
    try:
        live.up(live.code("v0", COUNTER))
        for _ in range(times):
            leader = live.book()["pid"]
            deaths.append(time.monotonic_ns())
            os.kill(leader, signal.SIGKILL)
            # Asked while nobody leads, it is answered as soon as somebody does.
            while not (answer := live.answer(live.send("send", name="book"))).get("result"):
                time.sleep(0.005)
            assert answer["result"]["value"]["pid"] != leader
        live.down()
        return spread(_outages(live.home / "journal", deaths))
    finally:
        live.close()


def _outages(journal: Path, deaths: list[int]) -> list[int]:
    """From each death to the boundary of the turn in which the next leader began, ns."""
    led = [frame.timing.mono for frame in frames(journal) if isinstance(frame.about, Led)][1:]
    return [next(mono for mono in led if mono > death) - death for death in deaths]
