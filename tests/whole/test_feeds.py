"""Feeds with real processes: one session at the source, and everything that it sends applied once, in order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..processes import wait_for_end
from .bots import bot
from .live import WITHIN, Live
from .source import FEED, Source

APPLIES = """
    def on_event(self, event):
        # A feed that was killed may publish its last event again.
        repeated = event.restarted and event.data == self.state.last
        self.state.wrong += not repeated and event.data != self.state.last + 1
        self.state.last = event.data
        self.state.restarts += event.restarted

    def on_tick(self, tick):
        self.state.ticks += 1
        self.state.stale = self.feeds["trades"].stale
    """
STATE = "ticks: int = 0\nlast: int = 0\nwrong: int = 0\nrestarts: int = 0\nstale: bool = False"
BOT = bot(APPLIES, state=STATE)


@pytest.fixture
def source() -> Iterator[Source]:
    here = Source()
    try:
        yield here
    finally:
        here.close()


def with_feed(
    live: Live,
    name: str,
    source: Source,
    *,
    feed: str = FEED,
    options: str = "",
    probation: str = "100ms",
) -> Path:
    project = live.code(name, BOT, probation=probation)
    (project / "feeds.py").write_text(feed.format(port=source.port))
    with (project / "neverblink.toml").open("a") as config:
        config.write(f'[feeds.trades]\nrun = "feeds:trades"\n{options}')
    return project


def until(condition: Callable[[], object]) -> None:
    """Wait for what nothing announces."""
    end = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def applies_more(live: Live, source: Source) -> dict[str, Any]:
    """Wait until the bot has applied what the source sends from here on; return its state."""
    newest = source.newest + 1
    until(lambda: live.book()["last"] >= newest)
    return live.book()


def the_feed(live: Live) -> dict[str, Any]:
    [feed] = live.status()["feeds"]
    return feed


def test_nothing_is_lost_doubled_or_reordered_over_handoff_rollback_and_deaths_with_one_session(
    live: Live, source: Source
) -> None:
    live.up(with_feed(live, "v0", source))
    applies_more(live, source)
    live.deploy(with_feed(live, "v1", source))
    applies_more(live, source)
    number = live.begin(with_feed(live, "v2", source, probation="60s"))
    live.phase(number, "probation")
    applies_more(live, source)
    live.ask("rollback", wait=True)
    applies_more(live, source)
    seen = len(live.events)
    # No standby: the successor has to be started, and reads its position from the journal.
    os.kill(live.status()["pid"], signal.SIGKILL)
    live.event(type="leader", cause="first", since=seen)
    book = applies_more(live, source)
    assert (book["wrong"], book["restarts"]) == (0, 0)
    assert (source.sessions, source.most_open) == (1, 1)
    # The feed itself is restarted, and killed.
    assert live.run("feed", "restart", "trades").code == 0
    applies_more(live, source)
    os.kill(the_feed(live)["pid"], signal.SIGKILL)
    live.event(type="feed", state="failed", since=seen)
    book = applies_more(live, source)
    assert (book["wrong"], book["restarts"]) == (0, 2)
    assert (source.sessions, source.most_open) == (3, 1)
    pid = the_feed(live)["pid"]
    live.down()
    wait_for_end(pid)
    assert source.open == 0
    live.audit()


@pytest.mark.deep
def test_a_supervisor_that_comes_back_finds_the_feed(live: Live, source: Source) -> None:
    project = with_feed(live, "v0", source)
    up = live.up(project)
    applies_more(live, source)
    pid = the_feed(live)["pid"]
    up.kill()
    up.ends()
    live.up(project)
    applies_more(live, source)
    assert the_feed(live)["pid"] == pid
    assert (source.sessions, source.most_open) == (1, 1)
    live.down()
    wait_for_end(pid)


@pytest.mark.deep
def test_a_feed_outlives_the_workers_and_their_supervisor(live: Live, source: Source) -> None:
    project = with_feed(live, "v0", source)
    up = live.up(project)
    applies_more(live, source)
    pid, worker = the_feed(live)["pid"], live.status()["pid"]
    up.kill()
    up.ends()
    os.kill(worker, signal.SIGKILL)
    wait_for_end(worker)
    live.up(project)
    book = applies_more(live, source)
    assert the_feed(live)["pid"] == pid
    assert (book["wrong"], book["restarts"], source.sessions) == (0, 0, 1)
    live.down()
    wait_for_end(pid)


@pytest.mark.deep
def test_down_that_leaves_the_workers_leaves_the_feed(live: Live, source: Source) -> None:
    project = with_feed(live, "v0", source)
    up = live.up(project)
    applies_more(live, source)
    pid = the_feed(live)["pid"]
    assert live.run("down", "--leave-workers").code == 0
    up.ends()
    newest = source.newest
    until(lambda: source.newest > newest)
    live.up(project)
    applies_more(live, source)
    assert the_feed(live)["pid"] == pid
    live.down()


@pytest.mark.deep
def test_a_feed_that_publishes_nothing_is_reported_as_stale_to_operators_and_to_the_bot(
    live: Live, source: Source
) -> None:
    live.up(with_feed(live, "v0", source, options='stale_after = "300ms"\n'))
    applies_more(live, source)
    source.paused.set()
    live.event(type="feed", state="stale")
    assert the_feed(live)["state"] == "stale"
    assert "is stale" in live.run("status").out
    until(lambda: live.book()["stale"])
    source.paused.clear()
    live.event(type="feed", state="fresh")
    until(lambda: not live.book()["stale"])
    live.down()


@pytest.mark.deep
def test_a_restart_whose_code_cannot_be_imported_leaves_the_feed_as_it_is(live: Live, source: Source) -> None:
    live.up(with_feed(live, "v0", source))
    applies_more(live, source)
    pid = the_feed(live)["pid"]
    live.deploy(with_feed(live, "v1", source, feed="import nosuch_{port}\n"))
    assert the_feed(live)["pid"] == pid
    failed = live.run("feed", "restart", "trades")
    assert failed.code != 0
    assert "nosuch" in failed.err
    applies_more(live, source)
    assert (the_feed(live)["pid"], source.sessions) == (pid, 1)
    live.down()


@pytest.mark.deep
def test_a_running_feed_stays_on_its_release_until_it_is_restarted(live: Live, source: Source) -> None:
    live.up(with_feed(live, "v0", source))
    applies_more(live, source)
    first = the_feed(live)["release"]
    live.deploy(with_feed(live, "v1", source, feed=FEED + "# new\n"))
    assert the_feed(live)["release"] == first
    assert "feed restart trades" in live.run("status").out
    restarted = live.run("feed", "restart", "trades", "--json")
    assert restarted.code == 0
    assert restarted.json["release"] == the_feed(live)["release"] == live.status()["release"] != first
    assert applies_more(live, source)["wrong"] == 0
    live.down()


@pytest.mark.deep
def test_a_feed_is_restarted_when_its_table_changes_and_ended_when_it_is_removed(
    live: Live, source: Source
) -> None:
    live.up(with_feed(live, "v0", source))
    applies_more(live, source)
    pid = the_feed(live)["pid"]
    live.deploy(with_feed(live, "v1", source, options='buffer = "1MiB"\n'))
    until(lambda: the_feed(live)["pid"] not in (pid, 0))
    assert applies_more(live, source)["wrong"] == 0
    assert source.most_open == 1
    live.deploy(live.code("v2", bot(APPLIES.replace('self.feeds["trades"].stale', "False"), state=STATE)))
    until(lambda: not live.status()["feeds"])
    until(lambda: source.open == 0)
    live.down()


@pytest.mark.deep
@pytest.mark.parametrize("body", ["raise RuntimeError('no key')", "return"], ids=["it raises", "it returns"])
def test_a_function_that_ends_is_started_again_with_growing_pauses_and_the_bot_goes_on(
    live: Live, source: Source, body: str
) -> None:
    live.up(with_feed(live, "v0", source, feed=f"def trades(feed):\n    {body}\n#{{port}}\n"))
    first = live.event(type="feed", state="failed")
    assert ("no key" if "raise" in body else "returned") in first["text"]
    live.event(type="feed", state="failed", since=live.events.index(first) + 1)
    assert the_feed(live)["error"]
    live.ticks_on()
    live.down()
