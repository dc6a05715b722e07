"""Outages: what is published about a dead leader, and until when it is listed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from neverblink.protocol.events import Outage, OutageChanged, WindowMissed
from neverblink.protocol.frame import Schema
from neverblink.protocol.link import DecisionOpened, Doubt, Handed, Hello, Report
from neverblink.protocol.window import Window
from neverblink.protocol.wire import PROTOCOL
from neverblink.supervisor.bot.outages import Outages, describe_outage, windows_missed
from neverblink.supervisor.store.history_db import HistoryDb, HistoryError
from neverblink.supervisor.store.history_rows import SCHEMA, STEPS
from neverblink.supervisor.system.errors import Refusal
from neverblink.supervisor.workers.registry import Ended, Member

from ..fake_bot_context import FakeBotContext

S = 1_000_000_000


def worker(name: str, *windows: Window) -> Member:
    member = Member(name, "r1", Path("/nowhere"), 0)
    specs = tuple(window.spec for window in windows)
    member.take(Hello("fox", name, 1, 1, PROTOCOL, "r1", Schema(1, "a"), S, specs, "3.12", "0.1"), 0)
    return member


def ended(member: Member, at: int, reason: str) -> Member:
    member.ended = Ended(-9, reason, at)
    return member


def leads(cause: str, epoch: int) -> Report:
    return Report("leading", epoch, True, "", 0, 10, 10, False, cause=cause)


class OutageHarness:
    def __init__(self) -> None:
        self.context = FakeBotContext()
        self.outages = Outages(self.context.state)

    @property
    def last(self) -> Outage:
        changed = [event for event in self.context.events if isinstance(event, OutageChanged)]
        return changed[-1].outage


def test_an_outage_is_published_from_the_death_to_the_first_tick_of_the_successor() -> None:
    here = OutageHarness()
    w1, w2 = worker("w1"), worker("w2", Window("10s", opens="-3s", closes="-1s"))
    w1.take(DecisionOpened("3-9-0", "enter", 7), 0)
    here.outages.lost(ended(w1, 105 * S, "killed by SIGKILL"))
    assert here.last == Outage(
        1,
        105 * S,
        worker="w1",
        release="r1",
        cause="killed by SIGKILL",
        in_doubt=(Doubt("3-9-0", "enter", 7),),
    )
    here.outages.succeeded(w1, w2, leads("first", 4))
    assert (here.last.successor, here.last.epoch, here.last.until) == ("w2", 4, None)
    here.outages.ticked(w2, Handed(4, 0, "first", 109, 1000, 0, 3, (Doubt("3-9-0", "enter", 7),)))
    assert here.last.until == 109 * S + 1000
    assert here.last.missed == 3
    assert here.last.windows == (WindowMissed("10s -3s..-1s", 1, 107 * S, 109 * S),)
    assert here.last.in_doubt == (Doubt("3-9-0", "enter", 7),)
    assert here.outages.unacknowledged == (here.last,)


def test_leaders_that_die_before_they_have_ticked_belong_to_one_outage() -> None:
    here = OutageHarness()
    w1, w2, w3 = worker("w1"), worker("w2"), worker("w3")
    here.outages.lost(ended(w1, 5 * S, "on_tick raised ValueError: 1"))
    here.outages.succeeded(w1, w2, leads("first", 2))
    here.outages.lost(ended(w2, 6 * S, "on_tick raised ValueError: 2"))
    assert (here.last.deaths, here.last.successor) == (2, "")
    here.outages.succeeded(w2, w3, leads("first", 3))
    here.outages.ticked(w3, Handed(3, 0, "first", 9, 0, 0, 3))
    assert [item.id for item in here.outages.unacknowledged] == [1]
    assert here.last.cause == "on_tick raised ValueError: 1"


def test_a_report_of_the_successor_may_arrive_before_the_death() -> None:
    here = OutageHarness()
    w1, w2 = worker("w1"), worker("w2")
    here.outages.succeeded(w1, w2, leads("failover", 2))
    here.outages.ticked(w2, Handed(2, 0, "failover", 9, 0, 0, 0))
    assert (here.last.worker, here.last.cause) == ("w1", "")
    here.outages.explained(ended(w1, 8 * S, "killed by SIGSEGV"))
    assert (here.last.worker, here.last.cause, here.last.missed) == ("w1", "killed by SIGSEGV", 0)


def test_a_planned_transfer_is_not_an_outage() -> None:
    here = OutageHarness()
    w1, w2 = worker("w1"), worker("w2")
    here.outages.succeeded(w1, w2, leads("handoff", 2))
    here.outages.ticked(w2, Handed(2, 1, "handoff", 9, 0, 0, 0))
    here.outages.explained(ended(w1, 8 * S, "exit 0"))
    assert here.context.events == []


def test_an_outage_is_listed_until_it_is_acknowledged_which_requires_its_end() -> None:
    here = OutageHarness()
    w1, w2 = worker("w1"), worker("w2")
    here.outages.lost(ended(w1, 5 * S, "exit 3"))
    with pytest.raises(Refusal, match="outage 1 is not over"):
        here.outages.acknowledge(1, "anna", "")
    assert here.outages.acknowledge(0, "anna", "") == []
    here.outages.succeeded(w1, w2, leads("first", 2))
    here.outages.ticked(w2, Handed(2, 0, "first", 9, 0, 0, 3))
    (known,) = here.outages.acknowledge(0, "anna", "out of memory")
    assert (known.who, known.why, known.acknowledged) == ("anna", "out of memory", here.context.clock.now)
    assert here.outages.unacknowledged == ()
    assert here.last == known
    with pytest.raises(Refusal, match="outage 1 is not waiting"):
        here.outages.acknowledge(1, "anna", "")


def test_missed_windows_are_those_with_a_missed_tick() -> None:
    window = Window("10s", opens="-3s", closes="-1s")
    free = Window("1m", opens="-30s", closes="-1s", protected=False)
    assert windows_missed([window, free], S, 100, 106) == ()
    assert windows_missed([window, free], S, 100, 107) == (WindowMissed("10s -3s..-1s", 1, 107 * S, 109 * S),)
    assert windows_missed([window], S, 108, 127) == (WindowMissed("10s -3s..-1s", 3, 107 * S, 129 * S),)
    # Between two ticks that ran a window may open and close, and nothing was missed in it.
    assert windows_missed([Window("10s", opens="-1500ms", closes="-1200ms")], S, 100, 120) == ()
    assert windows_missed([window], S, 9, 8) == ()


def test_an_outage_is_described_in_one_line() -> None:
    over = Outage(
        3, 5 * S, 5 * S + 410_000_000, "w1", "r1", "killed by SIGKILL", 2, 41,
        (WindowMissed("5m", 1, 0, 1),), (Doubt("3-9-0", "enter", 7),), "w3", 4,
    )  # fmt: skip
    assert describe_outage(over, 9 * S) == (
        "outage 3: worker w1 died (and 1 after it): killed by SIGKILL; w3 went on after 410ms, 41 ticks missed, "
        "window 5m missed, decision enter (3-9-0) in doubt"
    )
    assert (
        describe_outage(Outage(1, 5 * S, worker="w1"), 9 * S)
        == "outage 1: worker w1 died; no worker leads since 4s"
    )


def test_outages_are_kept_for_the_next_supervisor(tmp_path: Path) -> None:
    here = OutageHarness()
    here.outages.lost(ended(worker("w1"), 5 * S, "exit 3"))
    here.outages.ticked(worker("w2"), Handed(2, 0, "first", 9, 0, 0, 3))
    here.outages.lost(ended(worker("w2"), 15 * S, "exit 4"))
    here.outages.acknowledge(1, "anna", "seen")
    with HistoryDb.open(tmp_path / "db", "fox") as history:
        for event in here.context.events:
            history.record(event)
        second, first = history.outages()
        assert second == here.outages.unacknowledged[0]
        assert (first.id, first.who, first.why) == (1, "anna", "seen")
        assert history.outages(unacknowledged=True) == [second]


def test_a_history_of_an_earlier_version_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "db"
    old = sqlite3.connect(path)
    for statement in STEPS[0].split(";\n"):
        old.execute(statement)
    old.execute("insert into kept values ('fox', 'workers', '7')")
    old.execute("pragma user_version = 1")
    old.commit()
    old.close()
    with pytest.raises(HistoryError, match="`neverblink up` brings it up to date"):
        HistoryDb.open(path, "fox", read_only=True)
    with HistoryDb.open(path, "fox") as history:
        assert history.kept("workers", int) == 7
        assert history.outages() == []
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("pragma user_version").fetchone() == (SCHEMA,)


def test_an_outage_can_be_encoded() -> None:
    event = OutageChanged(bot="fox", at=1, outage=Outage(1, 5, windows=(WindowMissed("5m", 1, 2, 3),)))
    assert msgspec.json.decode(msgspec.json.encode(event), type=OutageChanged) == event
