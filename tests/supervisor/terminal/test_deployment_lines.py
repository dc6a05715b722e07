"""The lines of a deployment, and that every output shows the same ones."""

from __future__ import annotations

import io
from typing import Any

import pytest

from neverblink.protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    PhaseChanged,
    StepDone,
    StepOutput,
)
from neverblink.supervisor.api.event_log import line_of as log_line
from neverblink.supervisor.cli.top_view import TopView
from neverblink.supervisor.hook.push_output import DeploymentOutput, PushOutput
from neverblink.supervisor.store.history_rows import DeploymentRow, PhaseNote, StepNote
from neverblink.supervisor.terminal.deployment_lines import DeploymentLines, line_of, takes_over
from neverblink.supervisor.terminal.deployment_screen import DeploymentScreen
from neverblink.supervisor.terminal.screen import Screen

MS = 1_000_000


def step(name: str, text: str = "", took: int = 0, **facts: Any) -> StepDone:
    return StepDone(bot="fox", at=1, deployment=4, step=name, text=text, took=took, facts=facts)


def phase(name: str, before: str, took: int = MS) -> PhaseChanged:
    return PhaseChanged(bot="fox", at=9, deployment=4, phase=name, before=before, took=took)


STARTED = DeploymentStarted(
    bot="fox", at=1, deployment=4, release="v2", previous="v1", who="anna", why="earlier exits"
)
HANDED = step("handed", "to w5", seq=48211, blackout=210_000)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (STARTED, "release v2 takes over from v1, asked by anna: earlier exits"),
        (phase("waiting", "rehearsing"), "waiting (rehearsing took 1 ms)"),
        (step("imported", took=12 * MS), "imported in 12 ms"),
        (step("holding", reason="window 5m"), "held by window 5m"),
        (HANDED, "handed over to w5, at tick 48211, blackout 0.21 ms"),
        (step("first-tick", late=52_000, missed=2), "first tick 0.052 ms late, 2 ticks missed"),
        (StepOutput(bot="fox", at=1, deployment=4, step="check", text="4 passed"), "check: 4 passed"),
        (
            DeploymentEnded(
                bot="fox", at=1, deployment=4, outcome="rolled_back", reason="it crashed", leader="w4",
                release="v1", seq=48211, blackout=210_000, late=52_000,
            ),
            "rolled back at tick 48211, blackout 0.21 ms, first tick 0.052 ms late, 0 ticks missed: it crashed",
        ),
    ],
)  # fmt: skip
def test_each_event_of_a_deployment_has_one_sentence(event: Event, sentence: str) -> None:
    line = line_of(event)
    assert line is not None
    assert line.sentence == sentence


def test_terminal_push_log_and_top_describe_a_handoff_in_the_same_words() -> None:
    terminal, push, top = io.StringIO(), io.StringIO(), TopView(measured=True)
    screen = DeploymentScreen(Screen(terminal, {}), 4, lambda: 0)
    pushed = DeploymentOutput(PushOutput(push), 4)
    for event in (STARTED, HANDED):
        screen.take(event)
        pushed.take(event)
        top.on_event(event)
    words = "to w5, at tick 48211, blackout 0.21 ms"
    [line] = [line for line in top.picture().lines if line.name == "handed over"]
    assert line.text == words
    assert f"handed over {words}" in " ".join(terminal.getvalue().split())
    assert f"handed over {words}" in push.getvalue()
    assert log_line(HANDED) == f"deployment 4: handed over {words}"


def test_a_first_release_takes_over_from_none() -> None:
    assert takes_over("v1", "") == "v1"
    assert takes_over("v2", "v1", dry_run=True) == "v2 is rehearsed beside v1"


def test_the_progress_names_the_activity_and_its_obstacle() -> None:
    lines = DeploymentLines(4)
    assert lines.activity == "starting the new worker"
    lines.take(StepOutput(bot="fox", at=1, deployment=4, step="environment", text="Resolved 2 packages"))
    assert lines.activity == "building environment"
    lines.take(phase("rehearsing", "preparing"))
    lines.take(step("holding", reason="a large state"))
    assert lines.waits_for == "rehearsing on the live state: held by a large state"
    lines.take(phase("waiting", "rehearsing"))
    assert lines.waits_for == "waiting for a boundary"
    assert lines.phases == {"preparing": MS, "rehearsing": MS}


@pytest.mark.parametrize(
    ("elapsed", "total", "text"),
    [
        (3_900 * MS, 20_000 * MS, "3 s of 20 s"),
        (1_260 * MS, 2_000 * MS, "1.2 s of 2 s"),
        (61, 100 * MS, "0 ms of 100 ms"),
        (65 * MS, 100 * MS, "65 ms of 100 ms"),
        (90_000 * MS, 600_000 * MS, "1m30s of 10m00s"),
    ],
)
def test_a_probation_of_any_length_shows_how_much_of_it_has_passed(
    elapsed: int, total: int, text: str
) -> None:
    lines = DeploymentLines(4)
    lines.take(phase("probation", "transferring"))
    assert lines.probation_text == ""
    lines.take(step("probation", elapsed=elapsed, total=total))
    assert lines.probation_text == text


def test_events_of_another_deployment_change_nothing() -> None:
    lines = DeploymentLines(5)
    assert [lines.take(event) for event in (STARTED, HANDED, phase("waiting", "preparing"))] == [None] * 3
    assert (lines.phase, lines.phases) == ("preparing", {})


def test_lost_events_are_read_from_the_history() -> None:
    row = DeploymentRow(
        id=4, bot="fox", kind="deploy", release="v2", previous="v1", who="", why="", dry_run=False, begun=1,
        ended=9, outcome="aborted", reason="no boundary", leader="w4", runs="v1", seq=None, blackout=None,
        late=None, missed=0, rollback="",
        phases=(PhaseNote(2, "waiting", "preparing", MS), PhaseNote(9, "aborted", "waiting", 2 * MS)),
        steps=(
            StepNote(1, "spawned", "", MS, {"worker": "w5", "pid": 7}),
            StepNote(3, "holding", "", 0, {"reason": "window 5m"}),
        ),
    )  # fmt: skip
    lines = DeploymentLines(4)
    assert [line.sentence for line in lines.catch_up(row)] == ["spawned worker w5, pid 7 in 1 ms"]
    assert lines.ended is not None
    assert (lines.ended.outcome, lines.ended.release, lines.held) == ("aborted", "v1", "window 5m")
    assert lines.phases == {"preparing": MS, "waiting": 2 * MS}
