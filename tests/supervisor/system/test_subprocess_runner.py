"""Programs that are run for a deployment: out of the way, and gone when they are to be."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from neverblink.supervisor.system.subprocess_runner import NICE, RunCancelled, SubprocessRunner

from ...processes import wait_for_end

MINUTE = 60_000_000_000
HANGS = "sleep 1000 & echo $!; exec sleep 1000"


@pytest.fixture
def runner(tmp_path: Path) -> SubprocessRunner:
    return SubprocessRunner(tmp_path / "running")


def run(
    runner: SubprocessRunner, script: str, heard: list[str], within: int = MINUTE, tmp: Path = Path("/")
) -> Coroutine[Any, Any, int]:
    command = ["/bin/sh", "-c", script]
    return runner.run(command, cwd=tmp, environment=os.environ, within=within, say=heard.append)


def test_lines_of_output_are_passed_on_as_plain_text(runner: SubprocessRunner) -> None:
    heard: list[str] = []
    script = (
        r"""printf 'one\r\ntwo\rthree\n\n\033[31mred\033[0m \033]0;title\007x\n'; echo four >&2; exit 3"""
    )
    assert asyncio.run(run(runner, script, heard)) == 3
    assert heard == ["one", "two", "three", "red x", "four"]


def test_a_command_and_its_children_have_low_priority_and_avoid_the_core_of_the_leader(
    tmp_path: Path,
) -> None:
    leader = os.getpid()
    runner = SubprocessRunner(tmp_path / "running", lambda: leader)
    heard: list[str] = []

    def say(line: str) -> None:
        heard.append(line)

    script = "(nice; sed -n 's/^Cpus_allowed_list:\\s*//p' /proc/self/status)"
    command = ["/bin/sh", "-c", script]
    asyncio.run(runner.run(command, cwd=tmp_path, environment=os.environ, within=MINUTE, say=say))
    assert int(heard[0]) == max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
    if len(os.sched_getaffinity(0)) > 1:
        ours = Path("/proc/self/status").read_text().partition("Cpus_allowed_list:")[2].split()[0]
        assert heard[1] != ours


def test_children_of_a_command_end_with_it(runner: SubprocessRunner) -> None:
    async def scenario() -> None:
        heard: list[str] = []
        assert await run(runner, "sleep 1000 >/dev/null 2>&1 & echo $!", heard) == 0
        await asyncio.to_thread(wait_for_end, int(heard[0]))

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_children_in_their_own_session_end_with_it(runner: SubprocessRunner) -> None:
    async def scenario() -> None:
        heard: list[str] = []
        assert (
            await run(
                runner,
                "exec 3>&1; (setsid sh -c 'echo $$ >&3; exec sleep 1000' >/dev/null &) | cat; sleep 0.2",
                heard,
                MINUTE,
            )
            == 0
        )
        await asyncio.to_thread(wait_for_end, int(heard[0]))

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_all_processes_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    source = f"""
import asyncio, os
from pathlib import Path
from neverblink.supervisor.system.subprocess_runner import SubprocessRunner

script = "setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000"
say = lambda line: print(line, flush=True)
command, root = ["/bin/sh", "-c", script], Path("/")
chores = SubprocessRunner(Path("running"))
asyncio.run(chores.run(command, cwd=root, environment=os.environ, within={MINUTE}, say=say))
"""
    with subprocess.Popen(
        [sys.executable, "-c", source], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        started = int(supervisor.stdout.readline())
        supervisor.kill()
    wait_for_end(started)


def test_a_command_that_exceeds_its_time_limit_is_ended(runner: SubprocessRunner) -> None:
    async def scenario() -> None:
        heard: list[str] = []
        with pytest.raises(RunCancelled, match="longer than 300ms"):
            await run(runner, HANGS, heard, 300_000_000)
        for line in heard:
            await asyncio.to_thread(wait_for_end, int(line))

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_cancellation_ends_the_command_and_prevents_the_next(
    runner: SubprocessRunner, tmp_path: Path
) -> None:
    async def scenario() -> None:
        begun = asyncio.Event()
        heard: list[str] = []

        def say(line: str) -> None:
            heard.append(line)
            begun.set()

        command = ["/bin/sh", "-c", HANGS]
        running = asyncio.ensure_future(
            runner.run(command, cwd=tmp_path, environment=os.environ, within=MINUTE, say=say)
        )
        await begun.wait()
        assert (tmp_path / "running").exists()
        runner.cancel("cancelled by anna")
        with pytest.raises(RunCancelled, match="cancelled by anna"):
            await running
        await asyncio.to_thread(wait_for_end, int(heard[0]))
        assert not (tmp_path / "running").exists()
        with pytest.raises(RunCancelled, match="cancelled by anna"):
            await run(runner, "true", heard)
        runner.open()
        assert await run(runner, "true", heard) == 0

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_processes_left_by_a_killed_supervisor_are_ended(runner: SubprocessRunner, tmp_path: Path) -> None:
    async def scenario() -> None:
        begun = asyncio.Event()
        command = ["/bin/sh", "-c", "echo here; exec sleep 1000"]
        running = asyncio.ensure_future(
            runner.run(
                command, cwd=tmp_path, environment=os.environ, within=MINUTE, say=lambda _: begun.set()
            )
        )
        await begun.wait()
        # As the next supervisor would.
        assert "ended the build" in SubprocessRunner(tmp_path / "running").end_left()
        assert await running == -9
        assert SubprocessRunner(tmp_path / "running").end_left() == ""

    asyncio.run(asyncio.wait_for(scenario(), 20))
