"""The guard: what is done about a leader that does nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from neverblink.protocol.events import Slow
from neverblink.supervisor.bot.hang_monitor import HangMonitor
from neverblink.supervisor.config.hang_limits import HangLimits
from neverblink.supervisor.system.proc_stat import ProcessActivity
from neverblink.supervisor.workers.registry import Member

from ..stage import Stage, hello, report

SECOND = 1_000_000_000


class Post:
    """A guard over one leader, which says what the test has it say."""

    def __init__(self, journal: Path) -> None:
        self.stage = Stage()
        self.killed: list[tuple[str, str]] = []
        self.waiting = 0
        """Reports that have come and were not read."""
        self.leader: Member | None = Member("w1", "r1", Path("/nowhere"), 0)
        self.leader.take(hello(interval=SECOND // 10), 0)
        self.said = report("leading", epoch=1)
        self.leader.take(self.said, 0)
        self.guard = HangMonitor(
            self.stage.bus,
            self.stage.outside,
            journal,
            leader=lambda: self.leader,
            bounds=lambda member: HangLimits(2 * SECOND, 5 * SECOND),
            drain=self.drain,
            kill=lambda worker, reason: self.killed.append((worker, reason)),
        )
        self.guard.begin()

    def drain(self) -> None:
        while self.waiting:
            self.waiting -= 1
            assert self.leader is not None
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
    assert post.leader is not None
    post.leader.take(report("leading", epoch=2), post.stage.hour.now)
    post.stage.hour.pass_by(3 * SECOND // 2)
    assert post.killed == []


def test_nobody_is_watched_when_nobody_leads(post: Post) -> None:
    post.leader = None
    post.stage.hour.pass_by(100 * SECOND)
    assert (post.told, post.killed, post.guard.slow) == ([], [], "")


def test_after_its_end_it_watches_no_more(post: Post) -> None:
    post.guard.close()
    assert post.stage.hour.waiting == 0
