"""A wall clock that is really stepped under a live bot, and processes that are really stopped."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.chaos.machine import Clock, lacking

from ..matrix import cases
from .bots import COUNTER, bot
from .live import Live

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
YEARS = 10 * 365 * 24 * HOUR
WATCHDOG = {"hang_after": "1s", "stuck_after": "2s"}
SLOW = bot(tick="100ms")


@pytest.fixture
def clock(live: Live) -> Clock:
    if "clock" in lacking():
        pytest.skip(lacking()["clock"])
    clock = Clock(live.tmp)
    live.environment.update(clock.environment)
    return clock


def ticks_for(live: Live, seconds: float) -> int:
    """Let the bot tick for at least this long; return how many ticks ran."""
    before, until = len(live.printed("tick")), time.monotonic() + seconds
    while time.monotonic() < until:
        # Not by asking the bot, which would be busy with that.
        live.event(type="pulse", since=len(live.events))
    return len(live.printed("tick")) - before


@pytest.mark.parametrize("by", cases([HOUR, -HOUR, YEARS], HOUR), ids=["+1h", "-1h", "+10y"])
def test_a_clock_step_that_is_undone_misses_no_tick_and_ends_no_worker(
    live: Live, clock: Clock, by: int
) -> None:
    live.up(live.code("v0", SLOW, watchdog=WATCHDOG))
    pid = live.book()["pid"]
    back = clock.step(by)
    # Longer than the watchdog waits.
    assert ticks_for(live, 3) > 20
    # A handoff in the middle of it, and its probation, which is not rolled back.
    live.deploy(live.code("v1", f"{SLOW}# 1\n", watchdog=WATCHDOG, probation="500ms"))
    assert live.book()["pid"] != pid
    back()
    assert ticks_for(live, 3) > 20
    assert [event for event in live.events if event["type"] in ("slow", "outage")] == []
    live.down()
    report = live.audit()
    assert report["broken"] == []
    assert (report["missed"], report["doubled"]) == (0, 0), (
        report["missing"],
        report["clock"],
        report["handoffs"],
    )


def test_rebase_clock_adopts_the_new_time_at_once_and_keeps_the_state(live: Live, clock: Clock) -> None:
    live.up(live.code("v0", SLOW, watchdog=WATCHDOG))
    pid, counted = live.book()["pid"], live.book()["ticks"]
    for by in (HOUR, -2 * HOUR):
        clock.step(by)
        assert live.run("rebase-clock", "-m", "the clock was set").code == 0
        live.ticks_on()
    after = live.book()
    assert (after["pid"], after["ticks"] > counted) == (pid, True)
    live.down()
    report = live.audit()
    assert (report["broken"], report["doubled"]) == ([], 0), report
    assert [lost["cause"] for lost in report["missing"]] == ["clock stepped +1h"]
    assert len(report["clock"]) == 2


@pytest.mark.deep
def test_a_lasting_clock_step_moves_the_grid_and_a_step_back_continues_at_once(
    live: Live, clock: Clock
) -> None:
    live.up(live.code("v0", SLOW, watchdog=WATCHDOG))
    back = clock.step(HOUR)
    assert ticks_for(live, 18) > 150
    back()
    assert ticks_for(live, 18) > 150
    assert [event for event in live.events if event["type"] in ("slow", "outage")] == []
    live.down()
    report = live.audit()
    assert (report["broken"], report["doubled"]) == ([], 0), report
    # The hour that the clock skipped.
    assert abs(report["missed"] - 36000) < 100
    assert [lost["cause"] for lost in report["missing"]] == ["clock stepped +1h"]
    assert len(report["clock"]) == 2


@pytest.mark.deep
def test_a_bot_resumes_from_a_state_written_under_a_wrong_clock(live: Live, clock: Clock) -> None:
    code = live.code("v0", SLOW, watchdog=WATCHDOG)
    back = clock.step(YEARS)
    live.up(code)
    live.ticks_on()
    live.down()
    counted = len(live.printed("tick"))
    back()
    live.up(code)
    assert live.book()["ticks"] >= counted
    assert ticks_for(live, 18) > 150
    assert [event for event in live.events if event["type"] in ("slow", "outage")] == []
    live.down()
    report = live.audit()
    assert (report["broken"], report["doubled"]) == ([], 0), report
    # The clock was set back, and nothing waited for ten years.
    assert report["clock"], report


def test_a_supervisor_and_worker_stopped_together_resume_without_a_failover(live: Live) -> None:
    up = live.up(live.code("v0", COUNTER, watchdog=WATCHDOG))
    pid = live.book()["pid"]
    both = (up.pid, pid)
    for item in both:
        os.kill(item, signal.SIGSTOP)
    try:
        time.sleep(3)
    finally:
        for item in both:
            os.kill(item, signal.SIGCONT)
    live.ticks_on()
    assert live.book()["pid"] == pid
    live.down()
    report = live.audit()
    assert (report["broken"], report["doubled"]) == ([], 0), report
    assert report["skipped"], report
