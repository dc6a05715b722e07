"""Real feeds that are not equally late: no handoff, rollback or death applies an event out of order, or twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ..matrix import cases
from .bots import bot
from .live import Live

STATE = """
events: int = 0
first: int = 0
last: int = 0
back: int = 0
"""
FEED = """
import threading

LAG = {lag}


def feed(put):
    i = int((time.time() - 1.79e9) * 500)
    time.sleep(LAG)
    # The first number that is seen begins the stream.
    number = i
    put(str(number), {{"number": number}}{more})
    while True:
        due = int((time.time() - LAG - 1.79e9) * 500)
        # As sockets do it: several at once, here those with the higher numbers first.
        for number in sorted(range(i + 1, due + 1), reverse={shuffled}):
            put(str(number), {{"number": number}}{more})
        i = max(i, due)
        time.sleep(0.005)


def count(book, events):
    for event in events:
        number = event.data["number"]
        book.events += 1
        book.first = book.first or number
        book.back += number < book.last
        book.last = max(book.last, number)
"""
START = """
async def on_start(self):
    threading.Thread(target=feed, args=(self.inbox.put,), daemon=True).start()

def on_tick(self, tick):
    say(f"tick {tick.seq}")
"""
NUMBERED = ', stream="trades", n=number'
EACH = "\ndef on_event(self, event):\n    count(self.state, [event])\n"
BATCHES = "\ndef on_events(self, events):\n    count(self.state, events)\n"
KINDS = {"each": (EACH, ""), "batches": (BATCHES, ""), "numbered": (BATCHES, NUMBERED)}


@pytest.mark.parametrize("kind", cases(KINDS, "batches"))
def test_events_keep_their_order_whatever_the_feeds_of_two_processes_are_late_by(
    live: Live, kind: str
) -> None:
    handler, more = KINDS[kind]

    def code(name: str, lag: float) -> Path:
        feed = FEED.format(lag=lag, shuffled=bool(more), more=more) + f"# {name}\n"
        return live.code(name, bot(START + handler, first=feed, state=STATE), probation="20s")

    def more_events() -> dict[str, Any]:
        """What the leader has counted, once it has applied something more."""
        before = live.book()["events"]
        live.prints("tick", lambda _: live.book()["events"] > before + 100)
        return live.book()

    live.up(code("late", 0.4))
    more_events()
    # Ahead of it, and then behind again.
    number = live.begin(code("ahead", 0.0))
    live.phase(number, "probation")
    assert more_events()["back"] == 0
    assert live.run("rollback", "--json").code == 0
    assert more_events()["back"] == 0
    number = live.begin(code("ahead2", 0.0))
    live.phase(number, "probation")
    assert more_events()["back"] == 0
    # The old process takes the bot back, with its feed behind.
    os.kill(live.book()["pid"], signal.SIGKILL)
    live.ended(number)
    counted = more_events()
    assert counted["back"] == 0
    live.down()
    report = live.audit()
    assert report["events"]["never"] == report["events"]["twice"] == []
    assert report["events"]["missing"] == 0
