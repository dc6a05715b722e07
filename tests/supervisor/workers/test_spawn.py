"""Starting a worker process: what it gets, and the error when it cannot be started."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from neverblink.protocol.assignment import VARIABLE, Assignment, decode_assignment
from neverblink.supervisor.system.process import describe_exit
from neverblink.supervisor.system.tail import last_line
from neverblink.supervisor.workers.platform import Launch
from neverblink.supervisor.workers.spawn import SpawnError, spawn, why_it_ended

ASSIGNMENT = Assignment("fox", "w1", "r1", "/run", "/lease", "/journal")


def launched(
    tmp_path: Path, program: str, env_file: Path | None = None, **variables: str
) -> tuple[int, str, Path]:
    """Start `program` as a worker's interpreter; return its exit status, its log, and the release's directory."""
    release = tmp_path / "release"
    release.mkdir()
    (tmp_path / "link").symlink_to(release)
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{program}")
    python.chmod(0o755)
    log, data = tmp_path / "w1.log", tmp_path / "a" / "data"
    launch = Launch(str(python), tmp_path / "link", "bot:Fox", log, ASSIGNMENT, data, env_file)

    async def run() -> int:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        environment = {**os.environ, "PYTHONSAFEPATH": "1", **variables}
        spawn(launch, None, environment, ended.set_result, loop)
        return await asyncio.wait_for(ended, 20)

    return asyncio.run(run()), launch.log.read_text(), release


def test_a_worker_gets_its_assignment_through_a_pipe_and_its_own_session(tmp_path: Path) -> None:
    (tmp_path / "w1.log").write_text("from before\n")
    code, log, release = launched(
        tmp_path,
        "import os, sys\n"
        "print(sys.argv[1:], os.getcwd(), os.getsid(0) == os.getpid(), os.environ['PYTHONUNBUFFERED'])\n"
        f"print(os.read(int(os.environ[{VARIABLE!r}]), 9999).decode(), 'PYTHONSAFEPATH' in os.environ)\n"
        "print('an error', file=sys.stderr, flush=True)\n"
        "sys.exit(3)",
    )
    assert code == 3
    lines = log.splitlines()
    assert lines[0] == "from before"
    assert "an error" in lines
    assert f"['-m', 'neverblink.worker', 'bot:Fox'] {release} True 1" in lines
    (json_line,) = [line for line in lines if line.startswith("{")]
    assert json_line.endswith(" False")
    assert decode_assignment(json_line.removesuffix(" False").encode()) == ASSIGNMENT


def test_values_of_the_env_file_override_the_environment_of_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=new\n")
    _, log, _ = launched(
        tmp_path,
        "import os\nprint(*map(os.environ.get, ('KEY', 'OTHER', 'NEVERBLINK_DATA')))",
        tmp_path / ".env",
        KEY="old",
        OTHER="kept",
        NEVERBLINK_DATA="elsewhere",
    )
    assert f"new kept {tmp_path / 'a' / 'data'}" in log.splitlines()
    assert (tmp_path / "a" / "data").is_dir()


def test_an_exit_status_names_the_signal_that_killed_the_process(tmp_path: Path) -> None:
    code, _, _ = launched(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert (code, describe_exit(code)) == (-9, "killed by SIGKILL")
    assert describe_exit(0) == "exit 0"
    assert describe_exit(-200) == "killed by signal 200"


def test_a_missing_release_or_interpreter_is_a_spawn_error_that_names_it(tmp_path: Path) -> None:
    async def start(python: str, directory: Path) -> None:
        launch = Launch(python, directory, "bot:Fox", tmp_path / "w1.log", ASSIGNMENT, tmp_path / "data")
        spawn(launch, None, os.environ, lambda code: None, asyncio.get_running_loop())

    with pytest.raises(SpawnError, match="is gone: deploy again"):
        asyncio.run(start(sys.executable, tmp_path / "nowhere"))
    with pytest.raises(SpawnError, match="python = 'nope': there is no such interpreter"):
        asyncio.run(start("nope", tmp_path))
    broken = tmp_path / "broken"
    broken.write_text("#!/nowhere/python\n")
    broken.chmod(0o755)
    with pytest.raises(SpawnError, match="cannot be started"):
        asyncio.run(start(str(broken), tmp_path))


def test_a_command_is_run_as_it_is_and_gets_the_assignment(tmp_path: Path) -> None:
    worker = tmp_path / "worker.sh"
    worker.write_text('#!/bin/sh\necho "$1 $(pwd)"\ncat /proc/self/fd/$NEVERBLINK_ASSIGNMENT\n')
    worker.chmod(0o755)
    log = tmp_path / "w1.log"

    async def start(*command: str) -> int:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        launch = Launch("python", tmp_path, "bot:Fox", log, ASSIGNMENT, tmp_path / "data", command=command)
        spawn(launch, None, os.environ, ended.set_result, loop)
        return await asyncio.wait_for(ended, 20)

    assert asyncio.run(start("./worker.sh", "one")) == 0
    said, assignment = log.read_text().splitlines()
    assert said == f"one {tmp_path}"
    assert f'"worker":"{ASSIGNMENT.worker}"' in assignment
    with pytest.raises(SpawnError, match='command "nope" is not there: install it'):
        asyncio.run(start("nope"))


def start_without_descriptors(tmp_path: Path) -> None:
    """Start a worker with no descriptor left, with one, with two, and so on until it can be started."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    launch = Launch(str(python), tmp_path, "bot:Fox", tmp_path / "w1.log", ASSIGNMENT, tmp_path / "data")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    outcomes: list[str] = []

    async def start(spare: int) -> bool:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        held: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        try:
            with suppress(OSError):
                while True:
                    held.append(os.dup(0))
            for _ in range(spare):
                os.close(held.pop())
            process = spawn(launch, None, os.environ, ended.set_result, loop)
        except SpawnError as problem:
            outcomes.append(problem.message)
            return False
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        process.signal(signal.SIGKILL)
        await asyncio.wait_for(ended, 20)
        return True

    for spare in range(30):
        if asyncio.run(start(spare)):
            break
    else:
        raise AssertionError(outcomes)
    assert outcomes
    assert all("worker w1 cannot be started: " in outcome for outcome in outcomes)
    assert psutil.Process().children() == []


def test_a_worker_is_not_started_when_file_descriptors_run_out_and_the_error_says_so(
    tmp_path: Path,
) -> None:
    # In a process of its own: other tests have sockets and threads in this one, which need descriptors too.
    starved = multiprocessing.get_context("spawn").Process(target=start_without_descriptors, args=(tmp_path,))
    starved.start()
    starved.join(60)
    try:
        assert starved.exitcode == 0
    finally:
        starved.kill()
        starved.close()


def test_the_reason_of_an_exit_has_the_last_line_that_the_worker_wrote(tmp_path: Path) -> None:
    launch = Launch("python3.13", tmp_path, "bot:Fox", tmp_path / "w1.log", ASSIGNMENT, tmp_path / "data")
    assert why_it_ended(launch, "exit 1") == "exit 1"
    launch.log.write_bytes(b"x" * 20_000 + b"\nTraceback:\n  \xff\nValueError: 3\n\n  \n")
    assert why_it_ended(launch, "exit 1") == "exit 1: ValueError: 3"
    launch.log.write_text("/usr/bin/python3.13: No module named neverblink\n")
    # From where this neverblink was installed: there may be none to be had by its name.
    assert f"python3.13 -m pip install {Path(__file__).parents[3]}" in why_it_ended(launch, "exit 1")
    assert last_line(tmp_path / "nowhere") == ""
