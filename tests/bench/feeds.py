"""What a feed adds to an event's way into the bot, how many it takes, and what two sessions at the source cost instead.

Latency is from `publish` in the feed's process to `on_event` in the bot's, beside a `put` by a task of the bot's own.
The two alternate within one run of the bot. Throughput is what a bot applies of a feed that sends a steady number of
events. Then the same source is deployed over again and again, once with a feed, once with a connection in each process.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..whole.bots import bot
from ..whole.live import Live
from ..whole.source import FEED, Source
from .cpu import cpu_of
from .figure import Figure, Scale, microseconds, number, row
from .spread import Spread, spread

__all__ = ["measure"]

_PACED = """\
import time


def trades(feed):
    due = time.monotonic()
    while True:
        due += {every}
        time.sleep(max(0.0, due - time.monotonic()))
        for _ in range({together}):
            feed.publish({{"at": time.time_ns(), "symbol": "BTC-USD", "price": 101.5, "size": 0.25}})
"""

_LATENCY = """
    async def on_start(self):
        self.found = {"feed": [], "put": []}
        self.putting = asyncio.ensure_future(self.put())

    async def put(self):
        count = 0
        while True:
            await asyncio.sleep(0.005)
            count += 1
            if self.leading:
                now = time.time_ns()
                self.inbox.put(f"p{count}", {"at": now, "symbol": "BTC-USD", "price": 101.5, "size": 0.25})

    def on_event(self, event):
        self.found["feed" if event.stream else "put"].append(time.time_ns() - event.data["at"])

    def on_command(self, name, args):
        found, self.found = self.found, {"feed": [], "put": []}
        return found
    """

_COUNT = """
    def on_events(self, events):
        self.state.applied += len(events)
        self.state.missing += sum(event.gap[1] - event.gap[0] + 1 for event in events if event.gap)
    """

_ORDER = "last: int = 0\nwrong: int = 0\napplied: int = 0\nmissing: int = 0\nticks: int = 0"
_BY_FEED = """
    def on_event(self, event):
        self.state.wrong += event.data != self.state.last + 1
        self.state.last = event.data
    """
_BY_ITSELF = """
    async def on_start(self):
        self.reading = asyncio.ensure_future(self.read())

    async def read(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(b"now\\n")
        async for line in reader:
            self.inbox.put(line.decode().strip(), int(line))

    def on_event(self, event):
        self.state.wrong += event.data != self.state.last + 1
        self.state.last = event.data

    async def on_retire(self):
        self.reading.cancel()
    """


def measure(scale: Scale, tmp: Path) -> Figure:
    figure = Figure("A feed: from publish to on_event, µs", ("p50", "p99", "max"))
    found = _latency(tmp / "latency", 1.0 if scale.quick else 2 * scale.seconds)
    figure.rows += [row("feed", found["feed"], 1000), row("put", found["put"], 1000)]
    added = (found["feed"].p50 - found["put"].p50) / 1000
    figure.notes.append(f"a feed adds {number(added)} µs at the median")
    rates: dict[str, Any] = {}
    for rate in (5_000,) if scale.quick else (20_000, 50_000):
        found_rate = _throughput(tmp / f"rate-{rate}", rate, scale.seconds)
        rates[str(rate)] = found_rate
        applied, missing, behind = (found_rate[name] for name in ("applied", "missing", "behind"))
        figure.notes.append(
            f"{rate:,} events a second published: {applied:,.0f} applied, {missing:,} lost, {behind:,} behind; "
            f"{number(found_rate['feed_us'])} µs of processor time each in the feed, "
            f"{number(found_rate['bot_us'])} µs in the bot"
        )
    deploys = 2 if scale.quick else 10
    with_feed, without = (
        _deployed(tmp / "one", deploys, feed=True),
        _deployed(tmp / "two", deploys, feed=False),
    )
    for name, seen in (("a feed", with_feed), ("a connection in each process", without)):
        figure.notes.append(
            f"{deploys} deployments with {name}: {seen['sessions']} sessions, at most {seen['at_once']} at once, "
            f"{seen['repeated']:,} of {seen['sent']:,} numbers sent twice, {seen['wrong']} applied out of order"
        )
    figure.data = {
        "feeds": {
            "latency_us": microseconds(found["feed"]),
            "put_us": microseconds(found["put"]),
            "rates": rates,
            "with_feed": with_feed,
            "without": without,
        }
    }
    return figure


def _project(live: Live, name: str, source: str, feed: str) -> Path:
    project = live.code(name, source)
    if feed:
        (project / "feeds.py").write_text(feed)
        with (project / "neverblink.toml").open("a") as config:
            config.write('[feeds.trades]\nrun = "feeds:trades"\n')
    return project


def _latency(tmp: Path, seconds: float) -> dict[str, Spread]:
    tmp.mkdir()
    live = Live(tmp)
    try:
        feed = _PACED.format(every=0.005, together=1)
        live.up(_project(live, "v1", bot(_LATENCY, tick="1s"), feed))
        time.sleep(1)
        live.book()
        time.sleep(seconds)
        found: dict[str, list[float]] = live.book()
        live.down()
    finally:
        live.close()
    return {name: spread(values) for name, values in found.items()}


def _throughput(tmp: Path, rate: int, seconds: float) -> dict[str, float]:
    tmp.mkdir()
    live = Live(tmp)
    try:
        feed = _PACED.format(every=0.001, together=rate // 1000)
        live.up(_project(live, "v1", bot(_COUNT, tick="100ms", state=_ORDER), feed))
        time.sleep(2)
        status = live.status()
        pids = status["feeds"][0]["pid"], status["pid"]
        before, began, used = live.book(), time.monotonic(), [cpu_of(pid) for pid in pids]
        time.sleep(seconds)
        after, took = live.book(), time.monotonic() - began
        used = [cpu_of(pid) - cpu for pid, cpu in zip(pids, used, strict=True)]
        behind = live.status()["feeds"][0]["behind"]
        live.down()
    finally:
        live.close()
    applied = max(1, after["applied"] - before["applied"])
    return {
        "applied": round(applied / took),
        "missing": after["missing"],
        "behind": behind,
        "feed_us": round(used[0] / 1000 / applied, 2),
        "bot_us": round(used[1] / 1000 / applied, 2),
    }


def _deployed(tmp: Path, deploys: int, *, feed: bool) -> dict[str, int]:
    """Deploy again and again while a source sends 500 numbers a second; return what it and the bot have seen."""
    tmp.mkdir()
    source = Source()
    live = Live(tmp)
    try:
        code = bot(
            _BY_FEED if feed else _BY_ITSELF.replace("PORT", str(source.port)), tick="100ms", state=_ORDER
        )
        given = FEED.format(port=source.port) if feed else ""
        live.up(_project(live, "v0", code, given))
        for number_of in range(1, deploys + 1):
            live.deploy(_project(live, f"v{number_of}", code + f"# {number_of}\n", given))
        time.sleep(0.5)
        wrong = live.book()["wrong"]
        seen = {
            "sessions": source.sessions,
            "at_once": source.most_open,
            "sent": source.sent,
            "repeated": source.sent - source.newest,
            "wrong": wrong,
        }
        live.down()
    finally:
        live.close()
        source.close()
    return seen
