"""An HTTP server in a bot, under load through many handoffs: how many requests were refused, and how long they took.

    .venv/bin/python -m tests.bench.handoffs_under_load [HANDOFFS]

Clients send requests all the time, each on a connection of its own, while the bot is deployed and rolled back in turns:
two handoffs for each new process. Exit status 1 if one request was refused or had no answer.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from ..ports import HOST, free_port
from ..whole.live import Live
from ..whole.test_sockets import Load, code

__all__ = ["Measured", "main", "measure"]

_SHOWN_EVERY = 100


class Measured:
    """What was measured. Times in ms."""

    def __init__(self, handoffs: int, took: float, load: Load) -> None:
        self.handoffs = handoffs
        self.took = took
        self.refused, self.cut, times = load.measured()
        self.requests = len(times)
        self.median, self.p99, self.worst = (
            times[int(part * (len(times) - 1))] * 1000 for part in (0.5, 0.99, 1.0)
        )

    def __str__(self) -> str:
        return (
            f"{self.handoffs} handoffs in {self.took:,.0f} s: {self.requests:,} requests, {self.refused} refused, "
            f"{self.cut} without an answer; {self.median:.1f} ms at the median, {self.p99:.1f} ms at 99 %, "
            f"{self.worst:.0f} ms at worst"
        )


def measure(live: Live, handoffs: int, clients: int = 4, pause: float = 0.005) -> Measured:
    """Load a bot through so many handoffs, an even number. Clients pause between requests, s."""
    port = free_port()
    releases = [code(live, name, f'"{HOST}:{port}"', probation="60s") for name in ("a", "b")]
    live.up(releases[0])
    load = Load(port, clients, pause)
    began = time.monotonic()
    try:
        for done in range(0, handoffs, 2):
            number = live.begin(releases[1])
            live.phase(number, "probation")
            live.ask("rollback")
            live.ended(number)
            # Without this, each event is looked for among all before it.
            live.events.clear()
            if (done + 2) % _SHOWN_EVERY == 0:
                print(f"{done + 2} handoffs after {time.monotonic() - began:,.0f} s", flush=True)
    finally:
        load.stop()
    took = time.monotonic() - began
    live.down()
    return Measured(handoffs, took, load)


def main() -> int:
    handoffs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(prefix="neverblink-") as place:
        live = Live(Path(place))
        try:
            measured = measure(live, handoffs)
        finally:
            live.close()
    print(measured)
    return 1 if measured.refused or measured.cut else 0


if __name__ == "__main__":
    sys.exit(main())
