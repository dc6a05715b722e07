"""Handoffs seen from outside: fills that arrive while the bot changes processes, and timers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .bots import bot
from .exchange import Exchange
from .live import Live, unbroken

HANDOFFS = 5
EARLY_NS = 1_000_000_000


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    here = Exchange(rate=200)
    try:
        yield here
    finally:
        here.close()


def test_200_fills_a_second_sent_to_both_processes_are_applied_once_each_and_timers_go_off_once(
    live: Live, exchange: Exchange
) -> None:
    def code(version: int) -> Path:
        return live.code(
            f"v{version}",
            bot(
                f"""
                async def on_start(self):
                    reader, self.writer = await asyncio.open_connection("127.0.0.1", {exchange.port})
                    self.listening = asyncio.create_task(self.listen(reader))

                async def listen(self, reader):
                    while line := await reader.readline():
                        fill = line.decode().strip()
                        self.inbox.put(fill, {{"size": 1}})

                def on_tick(self, tick):
                    say(f"tick {{tick.seq}}")

                def on_event(self, event):
                    self.state.fills[event.key] = self.state.fills.get(event.key, 0) + event.data["size"]
                    self.state.held += event.data["size"]
                    say(f"fill {{event.key}}")

                def on_command(self, name, args):
                    if name == "arm":
                        self.set_timer(args["name"], after=args["after"])
                    return {{"worker": {version}, "held": self.state.held}}

                def on_timer(self, timer):
                    say(f"timer {{timer.name}} {version} {{timer.late}}")

                def on_retire(self):
                    self.listening.cancel()
                    self.writer.close()

                on_stop = on_retire
                """,
                state="""
                held: int = 0
                fills: Table[str, int] = msgspec.field(default_factory=Table)
                """,
                tick="25ms",
            ),
            keep=20,
        )

    live.up(code(0))
    armed_by: dict[str, int] = {}
    for version in range(1, HANDOFFS + 1):
        name = f"exit{version}"
        armed_by[name] = live.ask("send", name="arm", args={"name": name, "after": "3s"})["value"]["worker"]
        live.deploy(code(version))
    exchange.stop()
    went_off = live.prints("timer", lambda lines: len(lines) == HANDOFFS)
    fills = live.prints("fill", lambda lines: len(lines) >= len(exchange.ledger))
    held = live.ask("send", name="book")["value"]["held"]
    live.down()

    assert sorted(fills) == sorted(exchange.ledger)
    assert held == len(exchange.ledger)
    # The handoffs overlapped with fills: both processes received some.
    both = [fill for fill, connections in exchange.ledger.items() if connections == 2]
    assert len(both) > HANDOFFS
    timers = [line.split() for line in went_off]
    assert sorted(name for name, _, _ in timers) == sorted(armed_by)
    assert any(int(version) > armed_by[name] for name, version, _ in timers)
    assert all(0 <= int(late) < EARLY_NS for _, _, late in timers), timers

    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["handoffs_total"] == HANDOFFS
    assert report["events"]["twice"] == report["events"]["never"] == report["events"]["waiting"] == []
    assert report["events"]["repeated"] > 0
    assert report["timers"]["fired"] == HANDOFFS
    assert report["timers"]["twice"] == 0
    unbroken(live.printed("tick"), report)
