"""The daemon with real processes, sockets and lease: one bot from its start to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.protocol.commands import Deploy, Down, Lock, Send
from neverblink.protocol.events import (
    LeaderChanged,
    StartPlanned,
    SupervisorStopping,
    WorkerExited,
)
from neverblink.protocol.frame import GENESIS, NOTHING, Frame, Schema, Timing, encode_frame
from neverblink.protocol.journal import RecordKind, pack_header, pack_record
from neverblink.supervisor import daemon
from neverblink.supervisor.bot.bring_up import StartFailed
from neverblink.supervisor.config.config import load
from neverblink.supervisor.store.state_dir import Home, HomeBusy

from .supervisor_harness import SupervisorHarness, gone, refused

SECOND = 1_000_000_000


@pytest.fixture
def harness(tmp_path: Path) -> SupervisorHarness:
    return SupervisorHarness(tmp_path)


def patient(code: Path, pause: str) -> Path:
    """The code, with this as the longest pause between two starts."""
    with (code / "neverblink.toml").open("a") as file:
        file.write(f'[restart]\npause_at_most = "{pause}"\n')
    return code


async def nothing(harness: SupervisorHarness) -> None:
    await harness.running()


# --- from start to end ----------------------------------------------------------------------------------------------


def test_a_bot_starts_runs_and_stops(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        status = await harness.running()
        assert (status["worker"], status["epoch"], status["bot"], status["version"]) == (
            "w1",
            1,
            "fox",
            1,
        )
        assert status["interval"] == 20_000_000
        assert [worker["role"] for worker in status["workers"]] == ["leading"]
        assert status["last"] is None
        assert status["deployment"] is None
        pids.append(status["pid"])
        later = await harness.until(lambda later: later["ticks"] > status["ticks"])
        assert later["seq"] > status["seq"]

    pids: list[int] = []
    assert harness.play(scenario) == 0
    assert gone(pids[0])
    assert [event.worker for event in harness.events_of(LeaderChanged)] == ["w1", ""]
    assert harness.events_of(WorkerExited)[0].code == 0
    assert harness.events_of(SupervisorStopping)
    assert "leads (first)" in harness.screen.getvalue()
    assert (harness.home.logs / "supervisor.log").read_text().count("\n") >= harness.screen.getvalue().count(
        "\n"
    )


def test_a_home_can_be_used_again_after_the_bot_was_stopped(harness: SupervisorHarness) -> None:
    """The fake worker writes no journal, so no journal blocks the start; worker ids continue."""
    assert harness.play(nothing) == 0
    assert harness.play(nothing) == 0
    assert [event.worker for event in harness.events_of(LeaderChanged)] == ["w1", "", "w2", ""]


def test_a_bot_that_has_stopped_is_down_and_no_longer_stopping(harness: SupervisorHarness) -> None:
    """Its supervisor runs a moment longer, and its last output stays in the file."""
    assert harness.play(nothing) == 0
    last = msgspec.json.decode((harness.home.path / "status.json").read_bytes())
    assert (last["alive"], last["status"]["state"], last["status"]["workers"]) == (False, "down", [])
    assert last["status"]["reason"].startswith("down")


def test_a_bot_that_fails_while_it_stops_is_reported_as_failed(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        answer = await harness.ask(Down())
        assert answer.error is not None
        assert (answer.error.code, "exit 3" in answer.error.message) == ("failed", True)

    assert harness.play(scenario, harness.code("v1", exit_code=3)) == 1


def test_requests_are_answered_while_the_bot_stops_slowly(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        down = asyncio.ensure_future(harness.ask(Down(who="anna", why="enough")))
        status = await harness.until(lambda status: status["state"] == "stopping")
        assert status["reason"] == "down by anna: enough"
        refused = await harness.ask(Deploy(path=str(harness.code("v2"))))
        assert refused.error is not None
        assert refused.error.code == "busy"
        assert not down.done()
        enough.touch()
        assert (await down).result == {"stopped": True}

    enough = harness.tmp / "enough"
    assert harness.play(scenario, harness.code("v1", stops_with=str(enough))) == 0


@pytest.mark.parametrize(
    "script", [{"hang": "start"}, {"hold": "decision enter"}, {}], ids=["start", "wait", "probation"]
)
def test_down_during_a_deployment_leaves_no_worker(
    harness: SupervisorHarness, script: dict[str, Any]
) -> None:
    """The follower goes first, or it would take the lease from a leader that leaves."""

    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        begun = await harness.ask(Deploy(path=str(harness.code("v2", bounds={"probation": "1h"}, **v2))))
        assert begun.error is None
        await harness.event(
            lambda event: getattr(event, "phase", "") == phase or getattr(event, "step", "") == phase
        )
        assert (await harness.ask(Down())).result == {"stopped": True}

    v2: dict[str, Any] = {"hang": "start"} if "hang" in script else {}
    phase = "spawned" if "hang" in script else "holding" if "hold" in script else "probation"
    old: dict[str, Any] = {"hold": script["hold"]} if "hold" in script else {}
    assert harness.play(scenario, harness.code("v1", **old)) == 0
    assert all(gone(event.pid) for event in harness.events_of(WorkerExited))
    assert len(harness.events_of(WorkerExited)) == 2
    assert len([event for event in harness.events_of(LeaderChanged) if event.cause == "failover"]) == 0


def test_an_interrupt_stops_the_bot_as_down_does(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([harness.exit])

    assert harness.play(scenario) == 0
    assert "Ctrl-C again" in harness.screen.getvalue()


def test_a_second_interrupt_ends_the_bot_where_it_stands(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        os.kill(os.getpid(), signal.SIGTERM)
        await harness.until(lambda status: status["state"] == "stopping")
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([harness.exit])

    assert harness.play(scenario, harness.code("v1", stops_with="/never", decision="enter")) == 1
    assert "in decision enter" in harness.screen.getvalue()


def test_an_interrupt_while_the_bot_starts_is_not_a_failure(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.until(lambda status: status["workers"])
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([harness.exit])

    assert harness.play(scenario, harness.code("v1", hang="start")) == 0


# --- a first worker that does not come up ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"import_error": "no module named numpyy"}, "exit 1: ModuleNotFoundError: no module named numpyy"),
        ({"fail": {"import": "bot.py has no Fox"}}, "bot.py has no Fox"),
        ({"hang": "start"}, "worker w1 was not ready within start_within = 300ms"),
        ({"protocol": (7, 9)}, "worker w1 speaks neverblink protocol 7 to 9"),
    ],
    ids=["import", "says why", "hangs", "protocol"],
)
def test_a_failed_first_worker_is_reported_in_one_line(
    harness: SupervisorHarness, script: dict[str, Any], reason: str
) -> None:
    code = harness.code("v1", bounds={"start_within": "300ms"} if "hang" in script else None, **script)
    with pytest.raises(StartFailed) as failed:
        harness.play(lambda harness: asyncio.wait_for(asyncio.shield(harness.exit), 10), code)
    assert f"bot fox could not be started: {reason}" in failed.value.message
    assert "\n" not in failed.value.message


@pytest.mark.parametrize(
    ("python", "mend"),
    [
        ("python9.9", "python = 'python9.9': there is no such interpreter"),
        ("/usr/bin/python3", "has no neverblink: install it there"),
    ],
)
def test_an_unsuitable_interpreter_is_reported_with_the_remedy(
    harness: SupervisorHarness, python: str, mend: str
) -> None:
    code = harness.code("v1", python=python)
    if python.startswith("/"):
        # Not the system's python: it might have neverblink one day.
        bare = harness.tmp / "python"
        bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
        bare.chmod(0o755)
        code = harness.code("v1", python=str(bare))
    with pytest.raises(StartFailed) as failed:
        harness.play(lambda harness: asyncio.wait_for(asyncio.shield(harness.exit), 10), code)
    assert mend in failed.value.message


# --- a home that is in use, or was ----------------------------------------------------------------------------------


def test_a_second_supervisor_is_refused_with_the_pid_of_the_first(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        with pytest.raises(HomeBusy) as busy:
            await daemon.run(load(harness.code("v1")), harness.home, screen=None)
        assert f"pid {os.getpid()}" in busy.value.message
        assert (await harness.status())["state"] == "running"

    assert harness.play(scenario) == 0


def test_a_journal_of_an_earlier_run_is_continued_and_set_aside_only_on_request(
    harness: SupervisorHarness,
) -> None:
    home = Home.open(harness.home.path)
    frame = Frame(1, 0, 4711, "tick", Schema(1, ""), GENESIS, Timing(ended=1_795_533_244 * 10**9), NOTHING)
    record = pack_record(RecordKind.FRAME, encode_frame(frame))
    (home.journal / "00000001.journal").write_bytes(pack_header(1) + record + b"torn")
    (home.journal / "00000002.journal").write_bytes(pack_header(2)[:3])
    assert harness.play(nothing) == 0
    assert (
        "going on from the earlier run, which ended without being stopped at tick 4711"
        in harness.screen.getvalue()
    )
    assert harness.play(nothing, fresh=True) == 0
    aside = [path for path in home.path.iterdir() if path.name.startswith("journal.")]
    assert len(aside) == 1
    assert len(list(aside[0].iterdir())) == 2


def test_a_home_with_a_long_path_works(tmp_path: Path) -> None:
    harness = SupervisorHarness(tmp_path, tmp_path / ("h" * 200))

    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        assert (await harness.deploy(harness.code("v2"))).error is None

    assert harness.play(scenario) == 0


# --- a leader that dies ---------------------------------------------------------------------------------------------


def test_a_bot_in_a_crash_loop_is_down_with_the_reason_and_the_time_of_the_next_start(
    harness: SupervisorHarness,
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        # It reports the failure before it ends.
        status = await harness.until(lambda status: status["state"] == "down" and not status["workers"])
        assert "failed 6 times in a row" in status["reason"]
        assert "on_tick raised ZeroDivisionError: it broke" in status["reason"]
        assert status["failure"]["worker"] == "w6"
        assert (status["worker"], status["workers"]) == ("", [])
        following = status["next_start"]
        assert (following["release"], following["failures"]) == (status["failure"]["release"], 6)
        planned = harness.events_of(StartPlanned)[-1]
        assert (planned.failures, planned.next) == (6, following["at"])
        assert 0 < planned.next - planned.at <= SECOND
        for command in (Deploy(path=str(harness.code("v2")), dry_run=True), Send(name="size")):
            answer = await harness.ask(command)
            assert answer.error is not None
            assert answer.error.code == "down"
        # What can't start leaves it as it was, and what can leads.
        answer = await harness.deploy(harness.code("v2", import_error="no module named fox"))
        assert answer.error is not None
        assert answer.error.code == "down"
        after = await harness.status()
        assert (after["state"], after["next_start"]["release"]) == ("down", following["release"])
        assert (await harness.deploy(harness.code("v3"))).error is None
        after = await harness.status()
        assert (after["state"], after["next_start"]) == ("running", None)
        assert (await harness.ask(Down())).result == {"stopped": True}

    # Eight processes are started, one after the other.
    harness.within *= 3
    assert harness.play(scenario, patient(harness.code("v1", crash_ms=50), "1s")) == 0
    assert harness.events_of(LeaderChanged)[-1].worker == ""


def test_a_bot_whose_start_fails_for_a_reason_outside_is_tried_until_it_succeeds(
    harness: SupervisorHarness, tmp_path: Path
) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        status = await harness.running()
        (tmp_path / "away").touch()
        os.kill(status["pid"], signal.SIGKILL)
        down = await harness.until(lambda status: status["state"] == "down")
        assert "no exchange" in down["reason"]
        # There is no end of it.
        await harness.until(lambda status: (status["next_start"] or {"failures": 0})["failures"] > 6)
        (tmp_path / "away").unlink()
        status = await harness.running()
        assert (status["reason"], status["next_start"]) == ("", None)

    harness.within *= 3
    code = harness.code("v1", fails_while=str(tmp_path / "away"))
    assert harness.play(scenario, patient(code, "100ms")) == 0


def test_the_next_start_runs_code_deployed_in_a_crash_loop(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        status = await harness.until(lambda status: status["state"] == "recovering" and status["next_start"])
        # Code that does not start changes nothing.
        code, message = refused(await harness.deploy(harness.code("v2", import_error="no module named fox")))
        assert (code, "no module named fox" in message) == ("down", True), message
        assert (await harness.deploy(harness.code("v3"))).error is None
        after = await harness.until(lambda status: status["state"] == "running")
        assert after["release"] != status["next_start"]["release"]
        assert after["next_start"] is None

    harness.within *= 2
    assert harness.play(scenario, harness.code("v1", crash_ms=50)) == 0


def test_the_next_start_runs_code_deployed_while_the_first_start_fails(
    harness: SupervisorHarness, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    code = harness.code("v1", fails_while=str(away))
    assert harness.play(nothing, code) == 0
    away.touch()

    async def scenario(harness: SupervisorHarness) -> None:
        led = (await harness.until(lambda status: status["next_start"]))["next_start"]["release"]
        assert (await harness.deploy(harness.code("v2"))).error is None
        after = await harness.running()
        assert (after["release"] != led, after["next_start"]) == (True, None)

    harness.within *= 2
    assert harness.play(scenario, code) == 0


def test_a_rehearsal_starts_no_code_when_the_bot_goes_down_meanwhile(
    harness: SupervisorHarness, tmp_path: Path
) -> None:
    away, built = tmp_path / "away", tmp_path / "built"
    second = harness.code("v2")
    with (second / "neverblink.toml").open("a") as file:
        file.write(f"[deploy]\ncheck = \"sh -c 'until test -e {built}; do sleep 0.02; done'\"\n")

    async def scenario(harness: SupervisorHarness) -> None:
        first = await harness.running()
        rehearsing = asyncio.ensure_future(harness.deploy(second, dry_run=True))
        await harness.until(lambda status: status["deployment"])
        away.touch()
        os.kill(first["pid"], signal.SIGKILL)
        await harness.until(lambda status: status["state"] == "down")
        built.touch()
        assert refused(await rehearsing)[0] == "down"
        away.unlink()
        assert (await harness.running())["release"] == first["release"]

    harness.within *= 3
    code = patient(harness.code("v1", fails_while=str(away)), "100ms")
    assert harness.play(scenario, code) == 0


def test_the_reason_for_a_killed_leader_names_the_signal(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        status = await harness.running()
        os.kill(status["pid"], signal.SIGKILL)
        await harness.until(lambda status: status["epoch"] == 2)

    assert harness.play(scenario) == 0
    assert harness.events_of(LeaderChanged)[1].cause == "worker w1 ended: killed by SIGKILL"


def test_the_status_says_that_the_history_cannot_be_written(harness: SupervisorHarness) -> None:
    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        with closing(sqlite3.connect(harness.home.database, isolation_level=None)) as other:
            other.execute("begin immediate")
            assert (await harness.ask(Lock(why="market open"))).error is None
            seen = (await harness.until(lambda status: status["history"]))["history"]
            assert "database is locked" in seen["reason"]
            assert seen["waiting"] >= 1
            assert seen["lost"] == 0
            other.execute("rollback")
        await harness.until(lambda status: status["history"] is None)

    assert harness.play(scenario) == 0
