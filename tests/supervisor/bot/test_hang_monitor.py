"""The hang monitor: what is done about a leader that does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from neverblink.protocol.events import Slow
from neverblink.supervisor.bot.hang_monitor import HangMonitor
from neverblink.supervisor.config.config import Config
from neverblink.supervisor.config.hang_limits import HangLimits
from neverblink.supervisor.release.releases import Release
from neverblink.supervisor.system.process import ProcessActivity
from neverblink.supervisor.workers.registry import Member

from ..fake_bot_context import FakeBotContext, RecordingWorkerPool, hello, report

SECOND = 1_000_000_000


class Pool(RecordingWorkerPool):
    """A worker pool that reads the reports that wait when it is drained."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch.context.registry)
        self.watch = watch

    def drain(self) -> None:
        self.watch.drain()


class Watch:
    """A hang monitor over one leader, whose reports the test makes."""

    def __init__(self, journal: Path) -> None:
        self.context = FakeBotContext()
        self.pool = Pool(self)
        self.waiting = 0
        """Reports that have come and were not read."""
        self.leader = Member("w1", "r1", Path("/nowhere"), 0)
        self.leader.take(hello(interval=SECOND // 10), 0)
        self.report = report("leading", epoch=1)
        self.leader.take(self.report, 0)
        state = self.context.state
        state.registry.add(self.leader)
        state.leader = "w1"
        limits = HangLimits(2 * SECOND, 5 * SECOND)
        config = Config(Path("/p/neverblink.toml"), "fox", "bot:B", "python3", watchdog=limits)
        state.runs["r1"] = cast("Release", None), config
        self.guard = HangMonitor(state, cast("Any", self.pool), journal)
        self.guard.begin()

    @property
    def killed(self) -> list[tuple[str, str]]:
        return [(did[1], did[2]) for did in self.pool.did if did[0] == "kill"]

    def drain(self) -> None:
        while self.waiting:
            self.waiting -= 1
            self.report = msgspec.structs.replace(self.report, number=self.report.number + 1)
            self.leader.take(self.report, self.context.clock.now)

    @property
    def reported(self) -> list[str]:
        return [event.reason for event in self.context.events if isinstance(event, Slow)]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def test_a_stopped_leader_is_reported_and_killed_with_the_reason(watch: Watch) -> None:
    watch.context.doing = ProcessActivity("T")
    watch.context.clock.advance(3 * SECOND // 2)
    assert watch.guard.slow.endswith("it is stopped")
    assert watch.killed == []
    watch.context.clock.advance(SECOND)
    assert {worker for worker, _ in watch.killed} == {"w1"}
    assert watch.killed[0][1].endswith("it is stopped")
    (reported,) = watch.reported
    assert reported.endswith("it is stopped")


def test_waiting_reports_are_read_before_the_leader_is_judged(watch: Watch) -> None:
    watch.context.doing = ProcessActivity("S")
    for _ in range(40):
        watch.waiting = 1
        watch.context.clock.advance(SECOND // 4)
    assert (watch.reported, watch.killed) == ([], [])


def test_a_leader_that_makes_progress_again_is_reported_as_healthy(watch: Watch) -> None:
    watch.context.doing = ProcessActivity("S")
    watch.context.clock.advance(3 * SECOND // 2)
    watch.waiting = 1
    watch.context.clock.advance(SECOND // 4)
    assert watch.reported[-1] == watch.guard.slow == ""
    assert len(watch.reported) == 2
    assert watch.killed == []


def test_a_successor_is_judged_by_its_own_activity(watch: Watch) -> None:
    watch.context.doing = ProcessActivity("S")
    watch.context.clock.advance(3 * SECOND // 2)
    watch.leader.take(report("leading", epoch=2), watch.context.clock.now)
    watch.context.clock.advance(3 * SECOND // 2)
    assert watch.killed == []


def test_nothing_is_watched_when_no_worker_leads(watch: Watch) -> None:
    watch.context.state.leader = ""
    watch.context.clock.advance(100 * SECOND)
    assert (watch.reported, watch.killed, watch.guard.slow) == ([], [], "")


def test_a_closed_monitor_watches_no_leader(watch: Watch) -> None:
    watch.guard.close()
    assert watch.context.clock.waiting == 0
