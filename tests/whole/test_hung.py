"""Processes that hang, are slow, or are stopped and continued: which may continue, and which is ended first."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from neverblink.protocol.frame import decode_frame
from neverblink.protocol.journal import Entry, RecordKind, decode_opened
from neverblink.supervisor.audit.reader import read_journal

from ..matrix import cases
from .bots import COUNTER, bot
from .live import Live, unbroken
from .test_killed import end, holder

QUICK = {"hang_after": "600ms", "stuck_after": "60s"}

HANGS = {
    "blocks": "time.sleep(3600)",
    "waits": "await asyncio.sleep(3600)",
}


@contextmanager
def stopped(pid: int) -> Generator[None]:
    """Stop a process, and continue it afterwards, whatever comes between."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("how", cases(HANGS, "blocks"))
def test_a_leader_whose_handler_never_returns_is_killed_and_succeeded(live: Live, how: str) -> None:
    hangs = bot(
        f"""
        async def on_tick(self, tick):
            self.state.ticks += 1
            say(f"tick {{tick.seq}}")
            if os.path.exists("{live.tmp}/hang") and not os.path.exists("{live.tmp}/hung"):
                open("{live.tmp}/hung", "w").close()
                say("hangs")
                {HANGS[how]}
        """
    )
    live.up(live.code("v0", hangs, watchdog={"hang_after": "600ms", "stuck_after": "1200ms"}))
    old = live.book()
    (live.tmp / "hang").touch()
    slow = live.event(type="slow")
    assert "it has ended no turn for" in slow["reason"]
    gone = live.event(type="worker-exited")
    assert (gone["pid"], gone["code"]) == (old["pid"], -signal.SIGKILL)
    assert gone["reason"].endswith("computes nothing" if how == "blocks" else "it still reports")
    live.ticks_on()
    new = live.book()
    assert new["pid"] != old["pid"]
    # The tick it hung in was never finished: it is run again by the successor, or missed.
    assert new["ticks"] > old["ticks"]
    live.down()
    assert live.audit()["doubled"] == 0


def test_a_slow_leader_is_reported_and_keeps_leading(live: Live) -> None:
    works = bot(
        f"""
        async def on_tick(self, tick):
            self.state.ticks += 1
            say(f"tick {{tick.seq}}")
            for how in ("compute", "wait"):
                if os.path.exists(f"{live.tmp}/{{how}}"):
                    os.unlink(f"{live.tmp}/{{how}}")
                    until = time.monotonic() + 1.5
                    while time.monotonic() < until:
                        if how == "wait":
                            await asyncio.sleep(0.01)
        """
    )
    live.up(live.code("v0", works, watchdog=QUICK))
    old = live.book()
    for how, does in (("compute", "it computes"), ("wait", "it still reports")):
        since = len(live.events)
        (live.tmp / how).touch()
        assert live.event(type="slow", since=since)["reason"].endswith(does)
        live.event(type="slow", reason="", since=since)
    assert live.book()["pid"] == old["pid"]
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["skipped"], report


def test_a_stopped_leader_is_dead_before_its_successor_leads(live: Live) -> None:
    live.up(live.code("v0", DECIDES, watchdog=QUICK))
    live.prints("decides")
    old = holder(live)
    me = os.pidfd_open(old)
    try:
        os.kill(old, signal.SIGSTOP)
        live.event(type="leader", worker="w2")
        # The process is gone, so it cannot be continued.
        with pytest.raises(ProcessLookupError):
            signal.pidfd_send_signal(me, signal.SIGCONT)
    finally:
        os.close(me)
    at = [event["type"] for event in live.events if event["type"] in ("worker-exited", "leader")]
    # It ends, no worker leads, its successor leads.
    assert at == ["worker-exited", "leader", "leader"], live.story()
    live.ticks_on()
    live.down()
    assert live.audit()["doubled"] == 0
    assert in_order(live)
    assert sorted(live.printed("decides")) == sorted(decided(live))


def test_a_stopped_leader_without_a_supervisor_keeps_the_lease_and_resumes_when_continued(live: Live) -> None:
    up = live.up(live.code("v0", DECIDES))
    live.phase(live.begin(live.code("v1", DECIDES, probation="60s", hang_after="300ms")), "probation")
    live.ticks_on()
    new = holder(live)
    # Without a supervisor nothing ends it: it keeps the lease, however long it is stopped.
    end(up)
    with stopped(new):
        count = len(live.printed("tick"))
        tried = len(live.printed("late"))
        # As long as its follower lives through many times `hang_after`.
        live.prints("late", lambda lines: len(lines) > tried + 40)
        assert holder(live) == new
        assert len(live.printed("tick")) == count
    ticking(live)
    assert holder(live) == new
    assert live.audit()["doubled"] == 0
    assert in_order(live)


def test_an_old_leader_that_is_continued_after_its_successors_led_has_no_effect(live: Live) -> None:
    live.up(live.code("v0", DECIDES, watchdog=QUICK))
    old = holder(live)
    live.phase(live.begin(live.code("v1", DECIDES, probation="60s")), "probation")
    live.ticks_on()
    new = holder(live)
    log = live.home / "logs" / "w1.log"
    with stopped(old):
        ticking(live, 60)
        asleep = log.stat().st_size
    live.prints("late", lambda _: log.read_text()[asleep:].count("late") > 20)
    # It tries all the time, and is refused.
    assert set(log.read_text()[asleep:].split()) == {"late", "NotLeading"}
    assert holder(live) == new
    live.ticks_on()
    live.down()
    assert in_order(live)
    report = live.audit()
    assert report["doubled"] == report["missed"] == 0, report
    assert sorted(live.printed("decides")) == sorted(decided(live))


def test_a_supervisor_that_was_stopped_and_continued_ends_no_worker(live: Live) -> None:
    up = live.up(live.code("v0", COUNTER, watchdog=QUICK))
    old = holder(live)
    with stopped(up.pid):
        # Several times as long as a leader may be silent.
        ticking(live, 200)
    since = len(live.events)
    live.event(type="pulse", since=since)
    live.ticks_on()
    assert holder(live) == old
    assert not [event for event in live.events if event["type"] in ("slow", "worker-exited")]
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    unbroken(live.printed("tick"), report)


def test_a_leader_waits_neither_for_a_stopped_follower_nor_for_a_stopped_supervisor(live: Live) -> None:
    up = live.up(live.code("v0", BUSY))
    old = holder(live)
    live.phase(live.begin(live.code("v1", BUSY, probation="60s", hang_after="60s")), "probation")
    live.ticks_on()
    new = holder(live)
    assert new != old
    with stopped(old), stopped(up.pid):
        # 4096 messages fit into a queue, and a few hundred into the kernel's.
        before = frames(live)
        live.prints("tick", lambda _: frames(live) > before + 6000)
        ticking(live)
    live.ticks_on()
    assert holder(live) == new
    # The follower has lost frames, and catches up.
    pulse = len(live.events)
    behind = live.event(type="pulse", worker="w2", role="leading", since=pulse)["seq"]
    live.event(lambda event: event["seq"] > behind, type="pulse", worker="w1", role="following", since=pulse)
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    unbroken(live.printed("tick"), report)
    assert all(gap["last"] - gap["seq"] < 100 for gap in report["skipped"]), report["skipped"]


DECIDES = bot(
    """
    async def on_start(self):
        self.trying = asyncio.create_task(self.try_on())

    async def try_on(self):
        # What no bot should do, and a stopped one might be in the middle of.
        while True:
            await asyncio.sleep(0.05)
            try:
                with self.decision("late") as decision:
                    say(f"decides {decision.id}")
            except Exception as problem:
                say(f"late {type(problem).__name__}")

    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")
        if tick.seq % 20 == 0:
            with self.decision("enter") as decision:
                say(f"decides {decision.id}")
    """
)

BUSY = bot(
    """
    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")
        for count in range(30):
            self.inbox.put(f"{tick.seq}-{count}", 1)

    def on_event(self, event):
        self.state.seen += 1
    """,
    tick="20ms",
    state="ticks: int = 0\nseen: int = 0",
)


def ticking(live: Live, more: int = 10) -> None:
    """Wait until the bot has printed this many more ticks."""
    latest = max(map(int, live.printed("tick")))
    live.prints("tick", lambda lines: max(map(int, lines)) > latest + more)


def records(live: Live, kind: RecordKind) -> list[bytes]:
    """All of this kind that the journal holds now, in its order."""
    found = read_journal(live.home / "journal")
    return [entry.payload for entry in found if isinstance(entry, Entry) and entry.kind is kind]


def frames(live: Live) -> int:
    return len(records(live, RecordKind.FRAME))


def decided(live: Live) -> list[str]:
    """The ids of all decisions of the bot in the journal, where operators' commands are kept beside them."""
    opened = [decode_opened(payload).id for payload in records(live, RecordKind.OPENED)]
    return [id for id in opened if not id.startswith("command/")]


def in_order(live: Live) -> bool:
    """Whether no worker wrote into the journal after a later leader had begun to."""
    epochs = [decode_frame(payload).epoch for payload in records(live, RecordKind.FRAME)]
    return epochs == sorted(epochs)
