"""A supervisor that adopts workers: real processes, a real lease, and fake workers.

The previous supervisor is a process that is killed; the new one runs in the test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neverblink.protocol.commands import Down, Send
from neverblink.protocol.events import LeaderChanged, WorkerExited, WorkerStarted
from neverblink.supervisor.store.history_db import HistoryDb
from neverblink.supervisor.store.living_workers import HomeInUse
from neverblink.supervisor.system.process import alive
from neverblink.supervisor.workers.leftovers import sweep

from ...processes import wait_for_end
from ..supervisor_harness import WITHIN, SupervisorHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[SupervisorHarness]:
    harness = SupervisorHarness(tmp_path)
    yield harness
    for pid in left(harness):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def earlier(harness: SupervisorHarness, code: Path) -> Generator[subprocess.Popen[str]]:
    """A supervisor of the bot in `code`, which is up; killed at the end."""
    program = (
        "import asyncio, pathlib\nfrom neverblink.supervisor import daemon\n"
        "from neverblink.supervisor.config.config import load\n"
        "from neverblink.supervisor.store.state_dir import Home\n"
        f"config, home = load(pathlib.Path({str(code)!r})), Home.open(pathlib.Path({str(harness.home.path)!r}))\n"
        "asyncio.run(daemon.run(config, home))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stderr is not None
        lines: list[str] = []
        for line in supervisor.stderr:
            lines.append(line)
            if " up: " in line:
                break
        else:
            raise AssertionError("".join(lines))
        try:
            _wait_for_the_history(harness)
            yield supervisor
        finally:
            supervisor.kill()


def _wait_for_the_history(harness: SupervisorHarness) -> None:
    """It is written beside the supervisor's loop: what is not in it yet is news to the next supervisor."""
    until = time.monotonic() + WITHIN
    with HistoryDb.open(harness.home.database, "fox") as history:
        while not history.leaders(1):
            assert time.monotonic() < until
            time.sleep(0.005)


def left(harness: SupervisorHarness) -> list[int]:
    """The workers that are alive."""
    if not harness.home.database.exists():
        return []
    with HistoryDb.open(harness.home.database, "fox") as history:
        return [worker.pid for worker in history.remaining() if alive(worker.pid, worker.started)]


async def nothing(harness: SupervisorHarness) -> None:
    await harness.running()


def test_a_running_bot_is_adopted_after_its_supervisor_was_killed(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        status = await harness.running()
        assert (status["worker"], status["pid"], status["epoch"]) == ("w1", pid, 1)
        (worker,) = status["workers"]
        assert worker["log"] == str(harness.home.logs / "w1.log")
        assert status["release"] == release
        assert status["interval"] == 20_000_000
        answer = await harness.ask(Send(name="size"))
        assert answer.result["value"]["name"] == "size"
        ticks = status["ticks"]
        await harness.until(lambda later: later["ticks"] > ticks)

    code = harness.code("v1")
    with earlier(harness, code):
        pass
    (pid,) = left(harness)
    release = harness.home.releases.joinpath("current").readlink().name
    assert harness.play(scenario, code) == 0
    assert f"worker w1 is alive and adopted: release {release}, pid {pid}" in harness.screen.getvalue()
    assert harness.events_of(WorkerStarted) == []
    (exited,) = harness.events_of(WorkerExited)
    assert exited.code is None
    assert "an earlier supervisor started it" in exited.reason
    # It has led all the time, so only its end is published.
    assert [event.worker for event in harness.events_of(LeaderChanged)] == [""]
    with HistoryDb.open(harness.home.database, "fox") as history:
        assert [(leader.worker, leader.epoch) for leader in history.leaders()] == [("", 1), ("w1", 1)]


def test_an_adopted_bot_accepts_a_deployment(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        answer = await harness.deploy(harness.code("v2"))
        assert answer.error is None, answer
        assert (await harness.status())["worker"] == "w2"

    code = harness.code("v1")
    with earlier(harness, code):
        pass
    assert harness.play(scenario, code) == 0


def test_an_adopted_leader_that_dies_is_started_again_on_its_release(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        status = await harness.running()
        os.kill(status["pid"], signal.SIGKILL)
        after = await harness.until(lambda after: after["epoch"] == 2)
        assert (after["worker"], after["release"]) == ("w2", status["release"])

    with earlier(harness, harness.code("v1")):
        pass
    # The project has other code by now, which must not run.
    assert harness.play(scenario, harness.code("v1", tick_ms=10)) == 0


def test_a_leader_that_died_without_a_supervisor_is_replaced_by_up(harness: SupervisorHarness) -> None:
    code = harness.code("v1")
    with earlier(harness, code):
        pass
    (pid,) = left(harness)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    assert harness.play(nothing, code) == 0
    with HistoryDb.open(harness.home.database, "fox") as history:
        assert [worker.reason for worker in history.workers()] == ["exit 0", "ended while no supervisor ran"]


def test_a_bot_can_be_adopted_repeatedly(harness: SupervisorHarness) -> None:
    code = harness.code("v1")
    for _ in range(3):
        with earlier(harness, code):
            pass
    assert len(left(harness)) == 1
    assert harness.play(nothing, code) == 0
    with HistoryDb.open(harness.home.database, "fox") as history:
        assert [leader.worker for leader in history.leaders()] == ["", "w1"]


def test_an_unresponsive_leader_is_adopted_by_its_lease(harness: SupervisorHarness) -> None:
    code = harness.code("v1")
    with earlier(harness, code):
        pass
    (pid,) = left(harness)
    os.kill(pid, signal.SIGSTOP)
    with earlier(harness, code):
        assert left(harness) == [pid]
    os.kill(pid, signal.SIGCONT)
    assert harness.play(nothing, code) == 0
    with HistoryDb.open(harness.home.database, "fox") as history:
        assert [leader.worker for leader in history.leaders()] == ["", "w1"]


def test_a_fresh_start_or_another_bot_beside_a_running_bot_is_refused(harness: SupervisorHarness) -> None:
    code = harness.code("v1")
    with earlier(harness, code):
        pass
    (pid,) = left(harness)
    with pytest.raises(HomeInUse, match=f"pid {pid}, it leads.*set their state aside"):
        harness.play(lambda harness: asyncio.wait_for(asyncio.shield(harness.exit), 10), code, fresh=True)
    other = harness.code("other")
    config = other / "neverblink.toml"
    config.write_text(config.read_text().replace('"fox"', '"hen"'))
    with pytest.raises(HomeInUse, match="They run bot fox"):
        harness.play(lambda harness: asyncio.wait_for(asyncio.shield(harness.exit), 10), other)
    assert left(harness) == [pid]
    assert harness.play(nothing, code) == 0


def test_down_ends_an_adopted_bot(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        assert (await harness.ask(Down())).result == {"stopped": True}

    code = harness.code("v1")
    with earlier(harness, code):
        pass
    (pid,) = left(harness)
    assert harness.play(scenario, code) == 0
    wait_for_end(pid)


def test_a_deployment_kept_by_another_version_does_not_prevent_adoption(harness: SupervisorHarness) -> None:
    code = harness.code("v1")
    with earlier(harness, code):
        pass
    with HistoryDb.open(harness.home.database, "fox") as history:
        number = history.begin("deploy", "r2", "r1", 1)
        history.keep(f"deployment {number} under way", {"kept": {"handoff": {"phase": "hovering"}}})
    assert harness.play(nothing, code) == 0
    with HistoryDb.open(harness.home.database, "fox") as history:
        ended = history.deployment(number)
    assert (ended.outcome, ended.reason) == ("aborted", "the supervisor ended before it did")
    assert "deployment 1 under way" in harness.screen.getvalue()


def test_sockets_of_dead_workers_are_removed_and_those_of_live_workers_kept(tmp_path: Path) -> None:
    made: list[socket.socket] = []
    for name in ("w1.sock", "w1.final.sock", "w2.sock", "w2.final.sock"):
        made.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        made[-1].bind(str(tmp_path / name))
    sweep(tmp_path, living=["w2"])
    assert sorted(left.name for left in tmp_path.iterdir()) == ["w2.final.sock", "w2.sock"]
    for item in made:
        item.close()
