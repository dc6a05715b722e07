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

from neverblink.protocol.changes import NOTHING, Schema
from neverblink.protocol.commands import Deploy, Down, Lock, Send
from neverblink.protocol.events import (
    LeaderChanged,
    StartPlanned,
    SupervisorStopping,
    WorkerExited,
)
from neverblink.protocol.frame import GENESIS, Frame, Timing, encode_frame
from neverblink.protocol.journal import RecordKind, pack_header, pack_record
from neverblink.supervisor import daemon
from neverblink.supervisor.bot.bring_up import StartFailed
from neverblink.supervisor.config.config import load
from neverblink.supervisor.store.state_dir import Home, HomeBusy

from .world import World, gone, refused

SECOND = 1_000_000_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def patient(code: Path, pause: str) -> Path:
    """The code, with this as the longest pause between two starts."""
    with (code / "neverblink.toml").open("a") as file:
        file.write(f'[restart]\npause_at_most = "{pause}"\n')
    return code


async def nothing(world: World) -> None:
    await world.running()


# --- from start to end ----------------------------------------------------------------------------------------------


def test_a_bot_starts_runs_and_stops(world: World) -> None:
    async def scenario(world: World) -> None:
        status = await world.running()
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
        later = await world.until(lambda later: later["ticks"] > status["ticks"])
        assert later["seq"] > status["seq"]

    pids: list[int] = []
    assert world.play(scenario) == 0
    assert gone(pids[0])
    assert [event.worker for event in world.told(LeaderChanged)] == ["w1", ""]
    assert world.told(WorkerExited)[0].code == 0
    assert world.told(SupervisorStopping)
    assert "leads (first)" in world.screen.getvalue()
    assert (world.home.logs / "supervisor.log").read_text().count("\n") >= world.screen.getvalue().count("\n")


def test_a_home_can_be_used_again_after_the_bot_was_stopped(world: World) -> None:
    """The puppet writes no journal, so nothing is in the way; worker ids go on."""
    assert world.play(nothing) == 0
    assert world.play(nothing) == 0
    assert [event.worker for event in world.told(LeaderChanged)] == ["w1", "", "w2", ""]


def test_a_bot_that_has_stopped_is_down_and_no_longer_stopping(world: World) -> None:
    """Its supervisor is there for a moment longer, and what it says last stays in the file."""
    assert world.play(nothing) == 0
    last = msgspec.json.decode((world.home.path / "status.json").read_bytes())
    assert (last["alive"], last["status"]["state"], last["status"]["workers"]) == (False, "down", [])
    assert last["status"]["reason"].startswith("down")


def test_a_bot_that_fails_while_it_stops_is_reported_as_failed(world: World) -> None:
    async def scenario(world: World) -> None:
        await world.running()
        answer = await world.ask(Down())
        assert answer.error is not None
        assert (answer.error.code, "exit 3" in answer.error.message) == ("failed", True)

    assert world.play(scenario, world.code("v1", exit_code=3)) == 1


def test_requests_are_answered_while_the_bot_stops_slowly(world: World) -> None:
    async def scenario(world: World) -> None:
        await world.running()
        down = asyncio.ensure_future(world.ask(Down(who="anna", why="enough")))
        status = await world.until(lambda status: status["state"] == "stopping")
        assert status["reason"] == "down by anna: enough"
        refused = await world.ask(Deploy(path=str(world.code("v2"))))
        assert refused.error is not None
        assert refused.error.code == "busy"
        assert not down.done()
        enough.touch()
        assert (await down).result == {"stopped": True}

    enough = world.tmp / "enough"
    assert world.play(scenario, world.code("v1", stops_with=str(enough))) == 0


@pytest.mark.parametrize(
    "script", [{"hang": "start"}, {"hold": "decision enter"}, {}], ids=["start", "wait", "probation"]
)
def test_down_during_a_deployment_leaves_no_worker(world: World, script: dict[str, Any]) -> None:
    """The follower goes first, or it would take the lease from a leader that leaves."""

    async def scenario(world: World) -> None:
        await world.running()
        begun = await world.ask(Deploy(path=str(world.code("v2", bounds={"probation": "1h"}, **v2))))
        assert begun.error is None
        await world.event(
            lambda event: getattr(event, "phase", "") == phase or getattr(event, "step", "") == phase
        )
        assert (await world.ask(Down())).result == {"stopped": True}

    v2: dict[str, Any] = {"hang": "start"} if "hang" in script else {}
    phase = "spawned" if "hang" in script else "holding" if "hold" in script else "probation"
    old: dict[str, Any] = {"hold": script["hold"]} if "hold" in script else {}
    assert world.play(scenario, world.code("v1", **old)) == 0
    assert all(gone(event.pid) for event in world.told(WorkerExited))
    assert len(world.told(WorkerExited)) == 2
    assert len([event for event in world.told(LeaderChanged) if event.cause == "failover"]) == 0


def test_an_interrupt_stops_the_bot_as_down_does(world: World) -> None:
    async def scenario(world: World) -> None:
        await world.running()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([world.exit])

    assert world.play(scenario) == 0
    assert "Ctrl-C again" in world.screen.getvalue()


def test_a_second_interrupt_ends_the_bot_where_it_stands(world: World) -> None:
    async def scenario(world: World) -> None:
        await world.running()
        os.kill(os.getpid(), signal.SIGTERM)
        await world.until(lambda status: status["state"] == "stopping")
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([world.exit])

    assert world.play(scenario, world.code("v1", stops_with="/never", decision="enter")) == 1
    assert "in decision enter" in world.screen.getvalue()


def test_an_interrupt_while_the_bot_starts_is_not_a_failure(world: World) -> None:
    async def scenario(world: World) -> None:
        await world.until(lambda status: status["workers"])
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([world.exit])

    assert world.play(scenario, world.code("v1", hang="start")) == 0


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
    world: World, script: dict[str, Any], reason: str
) -> None:
    code = world.code("v1", bounds={"start_within": "300ms"} if "hang" in script else None, **script)
    with pytest.raises(StartFailed) as failed:
        world.play(lambda world: asyncio.wait_for(asyncio.shield(world.exit), 10), code)
    assert f"bot fox could not be started: {reason}" in failed.value.message
    assert "\n" not in failed.value.message


@pytest.mark.parametrize(
    ("python", "mend"),
    [
        ("python9.9", "python = 'python9.9': there is no such interpreter"),
        ("/usr/bin/python3", "has no neverblink: install it there"),
    ],
)
def test_an_unsuitable_interpreter_is_reported_with_the_remedy(world: World, python: str, mend: str) -> None:
    code = world.code("v1", python=python)
    if python.startswith("/"):
        # Not the system's own python: that may well have neverblink one day.
        bare = world.tmp / "python"
        bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
        bare.chmod(0o755)
        code = world.code("v1", python=str(bare))
    with pytest.raises(StartFailed) as failed:
        world.play(lambda world: asyncio.wait_for(asyncio.shield(world.exit), 10), code)
    assert mend in failed.value.message


# --- a home that is in use, or was ----------------------------------------------------------------------------------


def test_a_second_supervisor_is_refused_with_the_pid_of_the_first(world: World) -> None:
    async def scenario(world: World) -> None:
        await world.running()
        with pytest.raises(HomeBusy) as busy:
            await daemon.run(load(world.code("v1")), world.home, screen=None)
        assert f"pid {os.getpid()}" in busy.value.message
        assert (await world.status())["state"] == "running"

    assert world.play(scenario) == 0


def test_a_journal_of_an_earlier_run_is_continued_and_set_aside_only_on_request(world: World) -> None:
    home = Home.open(world.home.path)
    frame = Frame(1, 0, 4711, "tick", Schema(1, ""), GENESIS, Timing(ended=1_795_533_244 * 10**9), NOTHING)
    record = pack_record(RecordKind.FRAME, encode_frame(frame))
    (home.journal / "00000001.journal").write_bytes(pack_header(1) + record + b"torn")
    (home.journal / "00000002.journal").write_bytes(pack_header(2)[:3])
    assert world.play(nothing) == 0
    assert (
        "going on from the earlier run, which ended without being stopped at tick 4711"
        in world.screen.getvalue()
    )
    assert world.play(nothing, fresh=True) == 0
    aside = [path for path in home.path.iterdir() if path.name.startswith("journal.")]
    assert len(aside) == 1
    assert len(list(aside[0].iterdir())) == 2


def test_a_home_with_a_long_path_works(tmp_path: Path) -> None:
    world = World(tmp_path, tmp_path / ("h" * 200))

    async def scenario(world: World) -> None:
        await world.running()
        assert (await world.deploy(world.code("v2"))).error is None

    assert world.play(scenario) == 0


# --- a leader that dies ---------------------------------------------------------------------------------------------


def test_a_bot_in_a_crash_loop_is_down_with_the_reason_and_the_time_of_the_next_start(
    world: World,
) -> None:
    async def scenario(world: World) -> None:
        # It says that it failed before it ends.
        status = await world.until(lambda status: status["state"] == "down" and not status["workers"])
        assert "failed 6 times in a row" in status["reason"]
        assert "on_tick raised ZeroDivisionError: it broke" in status["reason"]
        assert status["failure"]["worker"] == "w6"
        assert (status["worker"], status["workers"]) == ("", [])
        following = status["next_start"]
        assert (following["release"], following["failures"]) == (status["failure"]["release"], 6)
        planned = world.told(StartPlanned)[-1]
        assert (planned.failures, planned.next) == (6, following["at"])
        assert 0 < planned.next - planned.at <= SECOND
        for command in (Deploy(path=str(world.code("v2")), dry_run=True), Send(name="size")):
            answer = await world.ask(command)
            assert answer.error is not None
            assert answer.error.code == "down"
        # What can't start leaves it as it was, and what can leads.
        answer = await world.deploy(world.code("v2", import_error="no module named fox"))
        assert answer.error is not None
        assert answer.error.code == "down"
        after = await world.status()
        assert (after["state"], after["next_start"]["release"]) == ("down", following["release"])
        assert (await world.deploy(world.code("v3"))).error is None
        after = await world.status()
        assert (after["state"], after["next_start"]) == ("running", None)
        assert (await world.ask(Down())).result == {"stopped": True}

    # Eight processes are started, one after the other.
    world.within *= 3
    assert world.play(scenario, patient(world.code("v1", crash_ms=50), "1s")) == 0
    assert world.told(LeaderChanged)[-1].worker == ""


def test_a_bot_whose_start_fails_for_a_reason_outside_is_tried_until_it_succeeds(
    world: World, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        status = await world.running()
        (tmp_path / "away").touch()
        os.kill(status["pid"], signal.SIGKILL)
        down = await world.until(lambda status: status["state"] == "down")
        assert "no exchange" in down["reason"]
        # There is no end of it.
        await world.until(lambda status: (status["next_start"] or {"failures": 0})["failures"] > 6)
        (tmp_path / "away").unlink()
        status = await world.running()
        assert (status["reason"], status["next_start"]) == ("", None)

    world.within *= 3
    code = world.code("v1", fails_while=str(tmp_path / "away"))
    assert world.play(scenario, patient(code, "100ms")) == 0


def test_the_next_start_runs_code_deployed_in_a_crash_loop(world: World) -> None:
    async def scenario(world: World) -> None:
        status = await world.until(lambda status: status["state"] == "recovering" and status["next_start"])
        # Code that does not start changes nothing.
        code, message = refused(await world.deploy(world.code("v2", import_error="no module named fox")))
        assert (code, "no module named fox" in message) == ("down", True), message
        assert (await world.deploy(world.code("v3"))).error is None
        after = await world.until(lambda status: status["state"] == "running")
        assert after["release"] != status["next_start"]["release"]
        assert after["next_start"] is None

    world.within *= 2
    assert world.play(scenario, world.code("v1", crash_ms=50)) == 0


def test_the_next_start_runs_code_deployed_while_the_first_start_fails(world: World, tmp_path: Path) -> None:
    away = tmp_path / "away"
    code = world.code("v1", fails_while=str(away))
    assert world.play(nothing, code) == 0
    away.touch()

    async def scenario(world: World) -> None:
        led = (await world.until(lambda status: status["next_start"]))["next_start"]["release"]
        assert (await world.deploy(world.code("v2"))).error is None
        after = await world.running()
        assert (after["release"] != led, after["next_start"]) == (True, None)

    world.within *= 2
    assert world.play(scenario, code) == 0


def test_a_rehearsal_starts_no_code_when_the_bot_goes_down_meanwhile(world: World, tmp_path: Path) -> None:
    away, built = tmp_path / "away", tmp_path / "built"
    second = world.code("v2")
    with (second / "neverblink.toml").open("a") as file:
        file.write(f"[deploy]\ncheck = \"sh -c 'until test -e {built}; do sleep 0.02; done'\"\n")

    async def scenario(world: World) -> None:
        first = await world.running()
        rehearsing = asyncio.ensure_future(world.deploy(second, dry_run=True))
        await world.until(lambda status: status["deployment"])
        away.touch()
        os.kill(first["pid"], signal.SIGKILL)
        await world.until(lambda status: status["state"] == "down")
        built.touch()
        assert refused(await rehearsing)[0] == "down"
        away.unlink()
        assert (await world.running())["release"] == first["release"]

    world.within *= 3
    code = patient(world.code("v1", fails_while=str(away)), "100ms")
    assert world.play(scenario, code) == 0


def test_the_reason_for_a_killed_leader_names_the_signal(world: World) -> None:
    async def scenario(world: World) -> None:
        status = await world.running()
        os.kill(status["pid"], signal.SIGKILL)
        await world.until(lambda status: status["epoch"] == 2)

    assert world.play(scenario) == 0
    assert world.told(LeaderChanged)[1].cause == "worker w1 ended: killed by SIGKILL"


def test_the_status_says_that_the_history_cannot_be_written(world: World) -> None:
    async def scenario(world: World) -> None:
        await world.running()
        with closing(sqlite3.connect(world.home.database, isolation_level=None)) as other:
            other.execute("begin immediate")
            assert (await world.ask(Lock(why="market open"))).error is None
            seen = (await world.until(lambda status: status["history"]))["history"]
            assert "database is locked" in seen["reason"]
            assert seen["waiting"] >= 1
            assert seen["lost"] == 0
            other.execute("rollback")
        await world.until(lambda status: status["history"] is None)

    assert world.play(scenario) == 0
