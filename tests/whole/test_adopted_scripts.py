"""What `adopt` makes of ordinary scripts runs: alone, under a supervisor, through a deployment, and without a gap."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .live import Live

SCRIPTS = Path(__file__).resolve().parents[1] / "supervisor" / "adopt" / "scripts"
SCHEDULE = '''
"""Stands for the library: it runs each job ten times as often, in the thread of the loop."""
import time

jobs = []


def every(seconds):
    return Every(seconds)


class Every:
    def __init__(self, seconds):
        self.pause, self.next = seconds / 10, time.time()
        jobs.append(self)

    def do(self, job):
        self.job = job


Every.seconds = property(lambda self: self)


def run_pending():
    for job in jobs:
        if time.time() >= job.next:
            job.next += job.pause
            job.job()
'''


def adopted(live: Live, name: str) -> Path:
    """The project of a script that has been adopted."""
    project = live.tmp / name
    project.mkdir()
    (project / f"{name}.py").write_text((SCRIPTS / f"{name}.txt").read_text())
    (project / "schedule.py").write_text(SCHEDULE)
    (project / "apscheduler").mkdir()
    (project / "apscheduler" / "__init__.py").touch()
    (project / "apscheduler" / "schedulers").mkdir()
    (project / "apscheduler" / "schedulers" / "blocking.py").write_text("class BlockingScheduler: ...\n")
    done = live.run("adopt", project / f"{name}.py", "--write")
    assert done.code == 0, done
    config = project / "neverblink.toml"
    config.write_text(config.read_text() + '\n[handoff]\nprobation = "200ms"\nstart_within = "20s"\n')
    return project


def number(pattern: str) -> Callable[[Live], list[int]]:
    """The numbers that the bot printed, in order, over all its workers."""

    def read(live: Live) -> list[int]:
        logs = sorted((live.home / "logs").glob("w*.log"), key=lambda log: int(log.stem[1:]))
        return [int(found) for log in logs for found in re.findall(pattern, log.read_text())]

    return read


@pytest.mark.parametrize(
    ("name", "word", "counts"),
    [
        ("module_loop", "price", number(r"price \d+ count (\d+)")),
        pytest.param("main_function", "step", number(r"step (\d+)"), marks=pytest.mark.deep),
        pytest.param("asyncio_tasks", "positions", number(r"(\d+) trades"), marks=pytest.mark.deep),
        pytest.param("scheduled", "job", number(r"job (\d+)"), marks=pytest.mark.deep),
        pytest.param("apscheduled", "run", number(r"run (\d+)"), marks=pytest.mark.deep),
        pytest.param("threaded", "round", number(r"round (\d+) \d"), marks=pytest.mark.deep),
        pytest.param("class_run", "tick", number(r"tick (\d+)"), marks=pytest.mark.deep),
        pytest.param("websocket", "received", number(r"received (\d+)"), marks=pytest.mark.deep),
    ],
)
def test_an_adopted_script_is_deployed_with_its_state_and_without_a_missed_tick(
    live: Live, name: str, word: str, counts: Callable[[Live], list[int]]
) -> None:
    project = adopted(live, name)
    live.up(project)
    live.prints(word, lambda lines: bool(lines) and counts(live)[-1:] >= [3])
    script = project / f"{name}.py"
    script.write_text(script.read_text() + "\n# changed\n")
    before = len(counts(live))
    live.deploy(project)
    live.prints(word, lambda _: len(counts(live)) >= before + 3)
    told = counts(live)
    assert told == sorted(told), "the state began anew"
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report


@pytest.mark.deep
def test_the_end_of_an_adopted_script_runs_what_a_ctrl_c_ran_and_a_deployment_does_not(live: Live) -> None:
    project = adopted(live, "module_loop")
    live.up(project)
    live.prints("price")
    live.deploy(project)
    assert live.printed("closing") == []
    live.down()
    assert len(live.printed("closing")) == 1
    alone = live.start("run", "--project", project)
    alone.prints("price")
    alone.interrupt()
    ended = alone.ends()
    assert (ended.code, "closing" in ended.out) == (0, True), ended
