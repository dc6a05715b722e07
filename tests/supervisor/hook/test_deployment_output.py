"""The output of a push: events in, lines out."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from neverblink.protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    Outcome,
    PhaseChanged,
    StepDone,
    StepOutput,
)
from neverblink.protocol.handoff.handoff_events import NO_BOUNDARY
from neverblink.supervisor.hook.push_output import ALIVE_EVERY, DeploymentOutput, PushOutput, show_result
from neverblink.supervisor.system.streams import StandardStream

MS = 1_000_000
BOT = "foresight"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def step(name: str, text: str = "", took: int = 0, **facts: Any) -> StepDone:
    return StepDone(bot=BOT, at=1, deployment=4, step=name, text=text, took=took, facts=facts)


def phase(name: str) -> PhaseChanged:
    return PhaseChanged(bot=BOT, at=1, deployment=4, phase=name, before="", took=0)


def output(name: str, text: str, deployment: int = 4) -> StepOutput:
    return StepOutput(bot=BOT, at=1, deployment=deployment, step=name, text=text)


STORY: list[Event] = [
    DeploymentStarted(
        bot=BOT, at=1, deployment=4, release="r4", previous="r3", who="anna", why="",
        commit="1a2b3c4d5e", subject="Earlier exits",
    ),
    output("release", "lib is a submodule"),
    output("environment", "Resolved 2 packages"),
    output("environment", "Installed 2 packages"),
    output("environment", "another deployment's", deployment=5),
    output("check", "4 passed"),
    step("spawned", took=12 * MS, worker="w5", pid=4321),
    step("imported", took=310 * MS),
    phase("rehearsing"),
    step("rehearsed", took=84 * MS, bytes=1_240_000, rows=10_240),
    phase("waiting"),
    step("holding", reason="decision enter"),
    step("holding", reason="decision enter"),
    phase("transferring"),
    phase("probation"),
    step("probation", elapsed=0, total=2_000 * MS),
    step("handed", "to w5", seq=48211, blackout=210_000),
    step("first-tick", late=52_000, missed=0),
    step("probation", elapsed=1_000 * MS, total=2_000 * MS),
]  # fmt: skip


def ended(outcome: Outcome, reason: str = "", release: str = "r3", **more: Any) -> DeploymentEnded:
    return DeploymentEnded(
        bot=BOT, at=2, deployment=4, outcome=outcome, reason=reason, leader="w4", release=release, **more
    )


BARE = Path("/srv/fox.git")


def test_each_event_is_shown_as_a_step_with_its_details_below() -> None:
    out = io.StringIO()
    story = DeploymentOutput(PushOutput(out), 4)
    for event in STORY:
        story.take(event)
    assert out.getvalue().splitlines() == [
        "-----> deployment 4: release r4 (1a2b3c4d Earlier exits) takes over from r3, asked by anna",
        " !     warning: lib is a submodule",
        "-----> building environment",
        "       Resolved 2 packages",
        "       Installed 2 packages",
        "-----> checking",
        "       4 passed",
        "-----> starting the new worker",
        "       worker w5, pid 4321  (12 ms)",
        "       imported  (310 ms)",
        "-----> rehearsing on the live state",
        "       1.24 MB, 10,240 rows  (84 ms)",
        "-----> waiting for a boundary",
        "       held by decision enter",
        "-----> handed over to w5, at tick 48211, blackout 0.21 ms",
        "       first tick 0.052 ms late",
        "-----> probation",
    ]


def test_a_long_wait_is_reported_with_its_reason() -> None:
    out, clock = io.StringIO(), Clock()
    story = DeploymentOutput(PushOutput(out, clock), 4)
    story.take(phase("waiting"))
    story.take(step("holding", reason="window 5m"))
    printed = out.getvalue()
    clock.now += ALIVE_EVERY - 0.1
    story.refresh()
    assert out.getvalue() == printed
    clock.now += 0.1
    story.refresh()
    assert out.getvalue() == printed + "       … waiting for a boundary: held by window 5m, 5 s\r"
    story.refresh()
    clock.now += ALIVE_EVERY
    story.refresh()
    assert out.getvalue().count("\r") == 2


def test_the_verdict_names_the_tick_at_which_the_new_code_took_over() -> None:
    out = io.StringIO()
    done = ended("done", seq=48211, blackout=210_000, missed=0, release="r4")
    assert show_result(PushOutput(out), done, "main", BARE, gate=False)
    assert out.getvalue().startswith("=====> handed over at tick 48211 in 0.21 ms, 0 missed\n")


@pytest.mark.parametrize(
    ("end", "gate", "printed"),
    [
        (ended("aborted", "no module named ccxt"), False, ["NOT DEPLOYED", "aborted: no module named", "r3 leads"]),
        (ended("aborted", "no module named ccxt"), True, ["REFUSED: main stays where it was", "no module named ccxt"]),
        (ended("aborted", f"{NO_BOUNDARY}: held by window 5m"), False, ["window 5m", "hook deploy /srv/fox.git"]),
        (ended("aborted", "both workers ended", release=""), False, ["no worker leads."]),
        (ended("rolled_back", "exit 1", seq=7, missed=1), False, ["ROLLED BACK", "error: exit 1", "1 tick missed"]),
    ],
)  # fmt: skip
def test_a_failure_is_shown_as_a_banner(end: DeploymentEnded, gate: bool, printed: list[str]) -> None:
    out = io.StringIO()
    assert not show_result(PushOutput(out), end, "main", BARE, gate=gate)
    lines = out.getvalue().splitlines()
    assert lines[1] == lines[-2] == "=" * 75
    assert lines[2].startswith("error: ")
    assert all(word in out.getvalue() for word in printed)
    assert "neverblink history 4" in out.getvalue()


def test_a_closed_pipe_is_not_an_error() -> None:
    read, write = os.pipe()
    os.close(read)
    output = PushOutput(StandardStream(write, "utf-8"))
    try:
        output.step("not read")
        output.step("nor this")
        assert not output.connected
    finally:
        os.close(write)
