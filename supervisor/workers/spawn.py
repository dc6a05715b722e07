"""Starting a worker process.

A worker is `PYTHON -m neverblink.worker MODULE:NAME`, or the `command` of a bot in another language. Its working
directory is the release's real directory, which `-m` puts first on `sys.path`: the worker never depends on a symlink
that may point elsewhere later. It gets a session of its own, so a Ctrl-C in the supervisor's terminal does not reach
it. Its output goes to a log *file*: a worker outlives the supervisor, and a pipe would break with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ...protocol.assignment import VARIABLE, encode_assignment
from ...protocol.errors import NeverblinkError
from ...protocol.keys import Keys
from ..system.install_hint import install_command
from ..system.interpreter import InterpreterError, find_interpreter
from ..system.log_file import open_for_child
from ..system.process import Adopted, Process
from ..system.process_group import MARK, mark_of
from ..system.tail import last_line
from .env_file import EnvFileError, bot_environment
from .listening_sockets import ListenError, ListeningSockets
from .platform import Child, Launch, Platform

__all__ = ["Inherited", "SpawnError", "platform_of", "spawn", "why_it_ended"]


class Inherited(msgspec.Struct, frozen=True):
    """What workers inherit unchanged: environment variables, umask, and the limit on open file descriptors."""

    environment: Mapping[str, str]
    umask: int
    descriptors: int


class SpawnError(NeverblinkError):
    """A worker's process could not be started."""


def platform_of(
    inherited: Inherited,
    loop: asyncio.AbstractEventLoop,
    keys_of: Callable[[str], Keys],
    before_start: Callable[[], object],
    end_group: Callable[[str, int, int], None],
    say: Callable[[str], None],
    sockets: ListeningSockets,
) -> Platform:
    """The platform of a running supervisor. `keys_of(worker)` are the keys of a new worker's ZeroMQ sockets.

    `before_start()` is called before each worker is started. `sockets` are the listening sockets of the bot.
    """

    def start(launch: Launch, on_exit: Callable[[int], None]) -> Child:
        before_start()
        worker = launch.assignment.worker
        environment, umask, descriptors = inherited.environment, inherited.umask, inherited.descriptors
        try:
            listening = sockets.provide(worker, launch.sockets)
            assignment = msgspec.structs.replace(launch.assignment, sockets=listening)
            launch = msgspec.structs.replace(launch, assignment=assignment)
            return spawn(launch, keys_of(worker), environment, on_exit, loop, umask, say, descriptors)
        except ListenError as problem:
            sockets.ended(worker, led=False)
            raise SpawnError(problem.message) from None
        except SpawnError:
            sockets.ended(worker, led=False)
            raise

    def watch(pid: int, started: int, on_exit: Callable[[None], None]) -> Child:
        return Adopted(pid, started, on_exit, loop)

    return Platform(time.time_ns, time.monotonic_ns, loop, start, watch, end_group=end_group)


def spawn(
    launch: Launch,
    keys: Keys | None,
    environment: Mapping[str, str],
    on_exit: Callable[[int], None],
    loop: asyncio.AbstractEventLoop,
    umask: int = -1,
    warn: Callable[[str], None] = lambda _: None,
    descriptors: int = 0,
) -> Process:
    """Start the worker with `keys` and this umask (-1: the supervisor's).

    `descriptors` is the limit on open files for processes that the bot forks; see `protocol.assignment`.

    When the log file cannot be opened, the worker is started all the same, `warn` gets the reason, and the worker tries
    again. Raises `SpawnError` when the interpreter, the directory or the environment file is missing.
    """
    directory = launch.directory.resolve()
    if not directory.is_dir():
        raise SpawnError(f"release directory {directory} is gone: deploy again")
    program = _program(launch, directory, environment)
    # The keys go through the pipe only: not in arguments, not in the environment, and the supervisor keeps no copy.
    assignment = encode_assignment(
        msgspec.structs.replace(launch.assignment, keys=keys, descriptors=descriptors)
    )
    try:
        readable, writable = os.pipe()
    except OSError as problem:
        raise SpawnError(f"worker {launch.assignment.worker} cannot be started: {problem}") from None
    try:
        os.set_blocking(writable, False)
        # An assignment has a few hundred bytes, and 200 for each socket. A pipe holds 64 KiB: this can't block, and
        # needs no reader yet.
        if os.write(writable, assignment) != len(assignment):
            raise SpawnError(f"the assignment of worker {launch.assignment.worker} does not fit into a pipe")
        with open_for_child(launch.log, warn) as log:
            child = subprocess.Popen(
                program,
                cwd=directory,
                env=_environment(launch, environment, readable),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Under the numbers they have here; the worker moves the sockets to where the convention has them.
                pass_fds=(readable, *(listening.descriptor for listening in launch.assignment.sockets)),
                start_new_session=True,
                umask=umask,
            )
        return Process(child, on_exit, loop)
    except EnvFileError as problem:
        raise SpawnError(f"worker {launch.assignment.worker} cannot be started: {problem.message}") from None
    except OSError as problem:
        raise SpawnError(f"worker {launch.assignment.worker} cannot be started: {problem}") from None
    finally:
        os.close(readable)
        os.close(writable)


def _program(launch: Launch, directory: Path, environment: Mapping[str, str]) -> list[str]:
    """The worker's command line. Raises `SpawnError` when its program does not exist."""
    if not launch.command:
        try:
            return [find_interpreter(launch.python, environment), "-m", "neverblink.worker", launch.target]
        except InterpreterError as problem:
            raise SpawnError(problem.message) from None
    name, *arguments = launch.command
    found = shutil.which(directory / name if "/" in name else name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise SpawnError(
            f'command "{name}" is not there: install it, or name a program of the release by its path, as in "./{name}"'
        )
    return [found, *arguments]


def why_it_ended(launch: Launch, status: str) -> str:
    """Why a worker ended, in one line: `status`, the last line of its log, and the mend where it is known."""
    last = last_line(launch.log)
    if "No module named" in last and "neverblink" in last:
        return (
            f"{launch.python} has no neverblink: install it there (`{install_command(python=launch.python)}`), "
            "or set `python` in neverblink.toml to an interpreter that has it"
        )
    if status.startswith("killed by"):
        # The last line of its log is unrelated.
        return status
    return f"{status}: {last}" if last else status


def _environment(launch: Launch, ours: Mapping[str, str], pipe: int) -> dict[str, str]:
    """The worker's environment; makes its data directory. Raises `EnvFileError` and `OSError`."""
    return {
        **bot_environment(launch.env_file, launch.data, ours),
        VARIABLE: str(pipe),
        MARK: mark_of(launch.assignment.worker, launch.assignment.run),
    }
