"""The health of the leader's tasks: an event for each end by itself, a message to people, and a rollback."""

from __future__ import annotations

from typing import Any

import pytest

from neverblink.protocol.events import Event, TaskEnded, TaskFailed, decode_event, encode_event
from neverblink.protocol.handoff.handoff_events import Phase
from neverblink.protocol.link import Report, TaskReport, worker_codec
from neverblink.supervisor.api.event_log import level_of_event, line_of
from neverblink.supervisor.bot.tasks_health import TasksHealth, unhealthy
from neverblink.supervisor.notify.messages import MessageWriter

RUNS = TaskReport("read", "task", "running", 1)
FAILED = TaskReport("read", "task", "restarting", 2, 0, "raised ValueError: no feed", 20, 1, raised=True)
AGAIN = TaskReport("read", "task", "restarting", 3, 1, "raised ValueError: no feed", 30, 2, raised=True)
RETURNED = TaskReport("send", "thread", "restarting", 3, 0, "returned", 40, 1)
DEAD = TaskReport("read", "task", "unhealthy", 4, 0, "raised ValueError: no feed", 50, 1, raised=True)


class Bus:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def take(self) -> list[Event]:
        published, self.events = self.events, []
        return published


def report(*tasks: TaskReport, role: Any = "leading", epoch: int = 1) -> Report:
    return Report(role, epoch, True, "", 0, 5, 5, False, tasks=tasks)


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def health(bus: Bus) -> TasksHealth:
    return TasksHealth(bus)  # pyright: ignore[reportArgumentType]


MEMBER: Any = type("Member", (), {"worker": "w1", "release": "v1"})()


def test_each_end_is_published_once(health: TasksHealth, bus: Bus) -> None:
    before = report(RUNS)
    health.reported(MEMBER, before, before)
    health.reported(MEMBER, before, report(FAILED))
    health.reported(MEMBER, before, report(FAILED))
    [event] = bus.take()
    assert isinstance(event, TaskFailed)
    assert (event.task, event.text, event.unhealthy) == (
        "read",
        "task read raised ValueError: no feed",
        False,
    )
    health.reported(MEMBER, before, report(AGAIN, RETURNED))
    again, returned = bus.take()
    assert isinstance(again, TaskFailed)
    assert again.row == 2
    assert isinstance(returned, TaskEnded)
    assert returned.text == "thread send returned"


def test_what_an_adopted_worker_reports_first_is_not_news(health: TasksHealth, bus: Bus) -> None:
    health.reported(MEMBER, None, report(FAILED))
    assert bus.take() == []
    health.reported(MEMBER, report(FAILED), report(AGAIN))
    assert len(bus.take()) == 1


def test_a_failure_between_two_reports_of_a_new_leader_is_published(health: TasksHealth, bus: Bus) -> None:
    health.reported(MEMBER, report(role="following"), report(FAILED, epoch=2))
    assert len(bus.take()) == 1
    health.reported(MEMBER, report(FAILED), report(FAILED, role="following"))
    assert bus.take() == []


@pytest.mark.parametrize(
    ("phase", "new", "rolled"),
    [
        (Phase.PROBATION, "w1", ["task read raised ValueError: no feed"]),
        (Phase.PROBATION, "w2", []),
        (Phase.RETIRING, "w1", []),
    ],
)
def test_an_unhealthy_task_of_the_new_worker_in_its_probation_is_the_reason_of_a_rollback(
    phase: Phase, new: str, rolled: list[str]
) -> None:
    asked: list[str] = []
    handoff = type("Handoff", (), {"new": new})()
    driver = type("Driver", (), {"phase": phase, "handoff": handoff, "revert": asked.append})()
    state: Any = type("State", (), {"drivers": [driver]})()
    unhealthy(state, "w1", report(FAILED))
    unhealthy(state, "w1", report(DEAD, role="yielding"))
    assert asked == []
    unhealthy(state, "w1", report(DEAD))
    assert asked == rolled


def test_people_get_the_first_failure_in_a_row_and_each_that_is_unhealthy() -> None:
    first = TaskFailed(bot="fox", at=5, worker="w1", release="v1", task="read", text=FAILED.text, row=1)
    second = TaskFailed(bot="fox", at=5, worker="w1", release="v1", task="read", text=FAILED.text, row=2)
    dead = TaskFailed(
        bot="fox", at=5, worker="w1", release="v1", task="read", text=FAILED.text, unhealthy=True, row=3
    )
    writer = MessageWriter("fox")
    [note] = writer.of(first)
    assert note.title == "fox: task read failed; it starts again"
    assert note.text == FAILED.text
    assert writer.of(second) == []
    [note] = writer.of(dead)
    assert note.level == "failure"
    assert line_of(dead) == f"{FAILED.text} (not started again)"
    assert level_of_event(dead) == "error"
    assert decode_event(encode_event(dead)) == dead


def test_a_report_of_an_earlier_worker_has_no_tasks() -> None:
    sent = worker_codec.encode(report(FAILED))
    decoded = worker_codec.decode(sent)
    assert isinstance(decoded, Report)
    assert decoded.tasks == (FAILED,)
    assert Report("leading", 1, True, "", 0, 5, 5, False).tasks == ()
