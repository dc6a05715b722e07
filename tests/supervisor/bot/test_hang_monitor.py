"""The guard: what is done about a leader that does nothing."""

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
from neverblink.supervisor.system.proc_stat import ProcessActivity
from neverblink.supervisor.workers.registry import Member

from ..stage import Hands, Stage, hello, report

SECOND = 1_000_000_000


class Pool(Hands):
    """A worker pool that reads the reports that wait when it is drained."""

    def __init__(self, post: Post) -> None:
        super().__init__(post.stage.registry)
        self.post = post

    def drain(self) -> None:
        self.post.drain()


class Post:
    """A guard over one leader, which says what the test has it say."""

    def __init__(self, journal: Path) -> None:
        self.stage = Stage()
        self.pool = Pool(self)
        self.waiting = 0
        """Reports that have come and were not read."""
        self.leader = Member("w1", "r1", Path("/nowhere"), 0)
        self.leader.take(hello(interval=SECOND // 10), 0)
        self.said = report("leading", epoch=1)
        self.leader.take(self.said, 0)
        state = self.stage.state
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
            self.said = msgspec.structs.replace(self.said, number=self.said.number + 1)
            self.leader.take(self.said, self.stage.hour.now)

    @property
    def told(self) -> list[str]:
        return [event.reason for event in self.stage.events if isinstance(event, Slow)]


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path)


def test_one_that_is_stopped_is_told_of_and_killed_with_the_reason(post: Post) -> None:
    post.stage.doing = ProcessActivity("T")
    post.stage.hour.pass_by(3 * SECOND // 2)
    assert post.guard.slow.endswith("it is stopped")
    assert post.killed == []
    post.stage.hour.pass_by(SECOND)
    assert {worker for worker, _ in post.killed} == {"w1"}
    assert post.killed[0][1].endswith("it is stopped")
    (told,) = post.told
    assert told.endswith("it is stopped")


def test_what_it_has_said_is_read_before_it_is_judged(post: Post) -> None:
    post.stage.doing = ProcessActivity("S")
    for _ in range(40):
        post.waiting = 1
        post.stage.hour.pass_by(SECOND // 4)
    assert (post.told, post.killed) == ([], [])


def test_one_that_goes_on_is_told_of_again(post: Post) -> None:
    post.stage.doing = ProcessActivity("S")
    post.stage.hour.pass_by(3 * SECOND // 2)
    post.waiting = 1
    post.stage.hour.pass_by(SECOND // 4)
    assert post.told[-1] == post.guard.slow == ""
    assert len(post.told) == 2
    assert post.killed == []


def test_a_successor_is_judged_by_what_it_does_itself(post: Post) -> None:
    post.stage.doing = ProcessActivity("S")
    post.stage.hour.pass_by(3 * SECOND // 2)
    post.leader.take(report("leading", epoch=2), post.stage.hour.now)
    post.stage.hour.pass_by(3 * SECOND // 2)
    assert post.killed == []


def test_nobody_is_watched_when_nobody_leads(post: Post) -> None:
    post.stage.state.leader = ""
    post.stage.hour.pass_by(100 * SECOND)
    assert (post.told, post.killed, post.guard.slow) == ([], [], "")


def test_after_its_end_it_watches_no_more(post: Post) -> None:
    post.guard.close()
    assert post.stage.hour.waiting == 0
