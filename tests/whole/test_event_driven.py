"""Bots without ticks: deployed, rolled back, killed, hung and audited as bots with ticks are."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from ..matrix import cases
from .bots import bot, loop
from .live import WITHIN, Live

STATE = """
fills: list[str] = []
armed: list[str] = []
"""
FEED = """
import threading


def feed(put):
    # Every process receives all of them, 50 a second.
    number = int(time.time() * 50)
    while True:
        put(str(number), number)
        number += 1
        time.sleep(max(0, number / 50 - time.time()))
"""
HANDLERS = """
heartbeat = "100ms"

async def on_start(self):
    threading.Thread(target=feed, args=(self.inbox.put,), daemon=True).start()

def on_lead(self, in_doubt):
    say(f"leads {len(in_doubt)}")

def on_event(self, event):
    self.state.fills = [*self.state.fills[-1000:], event.key]
    with self.decision("enter"):
        pass
    if int(event.key) % 10 == 0:
        self.set_timer(event.key, after="300ms")

def on_timer(self, timer):
    self.state.armed = [*self.state.armed[-1000:], timer.name]
"""
EVENT = "def on_event(self, event):"
LOOP = loop(
    FEED
    + """

async def main():
    loop = join(Book, tick=None, heartbeat="100ms")
    threading.Thread(target=feed, args=(loop.inbox.put,), daemon=True).start()
    async for turn in loop:
        if turn.first:
            say(f"leads {len(loop.in_doubt)}")
        turn.state.fills = [*turn.state.fills[-1000:], *(event.key for event in turn.events)]
        for event in turn.events:
            if int(event.key) % 10 == 0:
                loop.set_timer(event.key, after="300ms")
        turn.state.armed = [*turn.state.armed[-1000:], *(timer.name for timer in turn.timers)]
        for command in turn.commands:
            turn.answers[command.key] = {"pid": os.getpid(), **msgspec.to_builtins(turn.state)}
"""
).replace("ticks: int = 0", STATE.replace("\n", "\n    "))
KINDS = {
    "class": (bot(HANDLERS, first=FEED, state=STATE).replace('tick = "10ms"', "tick = None"), "Bot"),
    "loop": (LOOP, "main"),
}
QUIET = bot("def on_event(self, event): pass", state=STATE).replace('tick = "10ms"', "tick = None")


def unbroken(names: list[str], step: int = 1) -> None:
    numbers = [int(name) for name in names]
    assert numbers == list(range(numbers[0], numbers[0] + step * len(numbers), step))


def filled(live: Live, more: int = 10) -> dict[str, Any]:
    """The leader's book, once so many more events have been applied, and a timer has run."""
    before = live.book()
    until = time.monotonic() + WITHIN
    while True:
        book = live.book()
        if int(book["fills"][-1]) >= int(before["fills"][-1]) + more and book["armed"] != before["armed"]:
            return book
        assert time.monotonic() < until, book
        time.sleep(0.02)


@pytest.mark.parametrize("kind", cases(KINDS, "class"))
def test_an_event_driven_bot_is_deployed_rolled_back_killed_and_audited(live: Live, kind: str) -> None:
    source, target = KINDS[kind]
    live.up(live.code("v0", source, target=target, standby=1))
    live.prints("leads")
    first = filled(live)
    done = live.deploy(live.code("v1", f"{source}# 1\n", target=target, standby=1))
    assert (done["outcome"], done["heartbeats"], done["missed"]) == ("done", True, 0), done
    assert 0 < done["blackout"] < 1_000_000_000
    number = live.begin(live.code("v2", f"{source}# 2\n", target=target, standby=1, probation="20s"))
    live.phase(number, "probation")
    assert filled(live)["pid"] != first["pid"]
    assert live.run("rollback", "--json").code == 0
    filled(live)
    live.event(type="standby", state="ready")
    status = live.status()
    assert (status["event_driven"], status["ticks"], status["interval"]) == (True, 0, 100_000_000)
    assert status["turns"] > 0
    shown = live.run("status").out
    assert "event-driven (no ticks), a heartbeat every 100ms" in shown, shown
    os.kill(live.book()["pid"], signal.SIGKILL)
    outage = live.event(lambda event: event["outage"]["until"], type="outage")["outage"]
    assert outage["heartbeats"]
    book = filled(live)
    unbroken(book["fills"])
    unbroken(book["armed"], 10)
    live.down()
    report = live.audit()
    assert report["ticks"] == report["doubled"] == 0
    assert report["heartbeats"] > 10
    assert report["turns"] > 100
    assert report["events"]["never"] == report["events"]["twice"] == []
    shown = live.run("audit").out
    assert shown.startswith("0 ticks, "), shown


@pytest.mark.deep
def test_a_bot_that_hears_nothing_is_healthy_and_one_whose_handler_blocks_is_replaced(live: Live) -> None:
    hang = live.tmp / "hang"
    hangs = KINDS["class"][0].replace(
        EVENT,
        f"""{EVENT}
        if os.path.exists({str(hang)!r}):
            os.unlink({str(hang)!r})
            time.sleep(3600)""",
    )
    quick = {"hang_after": "600ms", "stuck_after": "1200ms"}
    live.up(live.code("quiet", QUIET, watchdog=quick))
    time.sleep(3)  # Time without an event is what this is about.
    assert live.status()["slow"] == ""
    live.deploy(live.code("hangs", hangs, watchdog=quick))
    old = filled(live)["pid"]
    hang.touch()
    gone = live.event(type="worker-exited", pid=old)
    assert (gone["code"], "ended no turn" in gone["reason"]) == (-signal.SIGKILL, True), gone
    assert filled(live)["pid"] != old
    live.down()
    assert live.audit()["doubled"] == 0


@pytest.mark.deep
def test_a_live_bot_loses_its_ticks_and_gets_them_back_by_deployments(live: Live) -> None:
    source = KINDS["class"][0]
    ticking = source.replace("tick = None", 'tick = "30ms"').replace('heartbeat = "100ms"', "")
    live.up(live.code("ticking", ticking))
    filled(live)
    live.deploy(live.code("driven", source))
    filled(live)
    assert live.status()["event_driven"]
    live.deploy(live.code("ticking2", f"{ticking}# 2\n"))
    book = filled(live)
    assert not live.status()["event_driven"]
    unbroken(book["fills"])
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0
    assert report["ticks"] > 0
    assert report["heartbeats"] > 0


@pytest.mark.deep
def test_new_code_whose_first_event_fails_is_rolled_back(live: Live) -> None:
    source = KINDS["class"][0]
    live.up(live.code("v0", source))
    filled(live)
    bad = source.replace(
        "def on_event(self, event):", "def on_event(self, event):\n        raise ValueError(event.key)"
    )
    failed = live.run("deploy", live.code("bad", bad, probation="10s"), "--json")
    assert (failed.code, failed.json["outcome"]) == (4, "rolled_back")
    unbroken(filled(live)["fills"])
    live.down()
    assert live.audit()["doubled"] == 0


@pytest.mark.deep
def test_commands_and_a_pause_come_at_once_though_heartbeats_are_rare(live: Live) -> None:
    live.up(live.code("quiet", QUIET.replace("tick = None", 'tick = None\n    heartbeat = "1m"')))
    began = time.monotonic()
    assert live.book()["fills"] == []
    assert live.run("pause").code == 0
    assert live.status()["paused"]
    assert time.monotonic() - began < 20
    live.down()
