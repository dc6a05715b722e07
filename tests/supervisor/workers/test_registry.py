"""What the supervisor knows of each worker."""

from __future__ import annotations

from pathlib import Path

import msgspec

from neverblink.protocol import link
from neverblink.protocol.link import (
    DecisionOpened,
)
from neverblink.protocol.window import WindowSpec
from neverblink.supervisor.workers.registry import Ended, Member, WorkerRegistry

from ..fake_bot_context import hello, report


def member(worker: str) -> Member:
    return Member(worker, "r1", Path("/log"), 0)


def test_a_member_has_the_last_report_of_its_worker() -> None:
    one = member("w1")
    assert (one.role, one.alive, one.leads, one.epoch, one.open_decision) == ("joining", True, False, 0, "")
    one.take(
        msgspec.structs.replace(
            hello(), windows=(WindowSpec("5m", "-20s", "-5s"), WindowSpec("nonsense", "", ""))
        ),
        5,
    )
    assert [window.name for window in one.windows] == ["5m -20s..-5s"]
    one.take(report("leading", epoch=3, late=70), 10)
    one.take(report("leading", epoch=3, late=20), 20)
    assert (one.leads, one.epoch, one.late_max, one.leads_since, one.reported_at) == (True, 3, 70, 10, 20)
    one.take(DecisionOpened("3-1-0", "enter", 8), 30)
    one.take(DecisionOpened("3-1-1", "", 7), 30)
    assert one.open_decision == "3-1-1"
    one.take(link.DecisionClosed("3-1-1"), 30)
    assert one.open_decision == "enter"
    one.take(report("following", epoch=4), 40)
    assert one.open_decision == ""
    one.ended = Ended(1, "exit 1", 50)
    assert (one.role, one.alive) == ("gone", False)


def test_the_registry_keeps_only_the_last_workers_that_ended() -> None:
    registry = WorkerRegistry()
    for number in range(40):
        one = member(f"w{number}")
        registry.add(one)
        one.ended = Ended(number % 2, f"exit {number % 2}", number)
    registry.add(member("alive"))
    assert [item.worker for item in registry.alive()] == ["alive"]
    assert registry.get("w0") is None
    assert registry.get("w39") is not None
    failed = registry.last_failure()
    assert failed is not None
    assert failed.worker == "w39"
