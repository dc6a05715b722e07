"""The supervisor's log: one line for each event."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest

from neverblink.protocol import events
from neverblink.protocol.events import Event
from neverblink.supervisor.api.event_log import EventLog, line_of
from neverblink.supervisor.config.config import LogSettings

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            events.WorkerStarted(bot="fox", at=1, worker="w1", release="r1", pid=7),
            "worker w1 started: release r1, pid 7",
        ),
        (
            events.LeaderChanged(bot="fox", at=1, worker="", release="", epoch=1, cause="exit 1", seq=0),
            "no worker leads any more: exit 1",
        ),
        (
            events.StepDone(bot="fox", at=1, deployment=3, step="rehearsed", text="all", took=1_234_567),
            "deployment 3: rehearsed all in 1.23 ms",
        ),
        (
            events.Commanded(
                bot="fox", at=1, op="deploy", who="anna", why="", outcome="locked", detail="freeze"
            ),
            "deploy by anna: locked: freeze",
        ),
        (
            events.DeploymentEnded(
                bot="fox",
                at=1,
                deployment=3,
                outcome="rolled_back",
                reason="it broke",
                leader="w1",
                release="r1",
            ),
            "deployment 3 rolled back: it broke; r1 leads",
        ),
    ],
)
def test_an_event_is_one_line(event: Event, line: str) -> None:
    assert line_of(event) == line


def test_a_text_line_has_time_level_writer_and_release(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log", None, lambda: 1_795_533_244 * SECOND)
    log.say("two\nlines")
    log.note(events.WorkerStarted(bot="fox", at=1, worker="w1", release="r1", pid=7))
    assert (tmp_path / "log").read_text().splitlines() == [
        "2026-11-24T15:14:04.000Z info    supervisor - | two lines",
        "2026-11-24T15:14:04.000Z info    supervisor r1 | worker w1 started: release r1, pid 7",
    ]


def test_a_json_line_has_its_level_and_the_bots_position(tmp_path: Path) -> None:
    screen = io.StringIO()
    log = EventLog(
        tmp_path / "log", screen, lambda: 1_795_533_244 * SECOND, bot="fox", settings=LogSettings("json")
    )

    def leads(worker: str) -> events.LeaderChanged:
        return events.LeaderChanged(
            bot="fox",
            at=1,
            worker=worker,
            release="r1" if worker else "",
            epoch=4,
            cause="why",
            seq=9 if worker else 0,
        )

    log.note(leads("w1"))
    log.note(
        events.Heartbeat(
            bot="fox",
            at=1,
            worker="w1",
            release="r1",
            role="leading",
            epoch=4,
            seq=12,
            ticks=1,
            skipped=0,
            late_max=1,
            paused=False,
        )
    )
    log.say("something")
    log.note(
        events.DeploymentStarted(bot="fox", at=1, deployment=7, release="r2", previous="r1", who="", why="")
    )
    log.say("in the middle of it")
    log.note(
        events.DeploymentEnded(
            bot="fox", at=1, deployment=7, outcome="rolled_back", reason="it broke", leader="w1", release="r1"
        )
    )
    log.note(leads(""))
    log.note(events.SupervisorStopping(bot="fox", at=1, reason="down"))
    log.note(leads(""))
    lines = [msgspec.json.decode(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["bot"] for line in lines} == {"fox"}
    assert lines[0] == {
        "time": "2026-11-24T15:14:04.000Z", "level": "info", "bot": "fox", "worker": "w1", "release": "r1",
        "text": "worker w1 leads (why): release r1, epoch 4", "epoch": 4, "seq": 9, "event": "leader",
    }  # fmt: skip
    entries = [(line["level"], line.get("deployment"), line["seq"]) for line in lines[1:]]
    assert entries == [
        ("info", None, 12), ("info", 7, 12), ("info", 7, 12), ("error", 7, 12), ("error", None, 12), ("info", None, 12),
        ("info", None, 12),
    ]  # fmt: skip
    # People read the screen.
    assert screen.getvalue().splitlines()[1].endswith(" something")
