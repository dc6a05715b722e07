"""Starting a worker process.

A worker is `PYTHON -m neverblink.worker MODULE:NAME` with its release's real directory as working directory, which
`-m` puts first on `sys.path`: from its first moment on it knows one release and never a symlink that may point
elsewhere later. It gets a session of its own, so a Ctrl-C in the supervisor's terminal is not its business, and a log
*file* for its output: it must be able to outlive us, and a pipe would break with us.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping

import msgspec

from ...protocol.assignment import VARIABLE, Assignment, encode_assignment
from ...protocol.errors import NeverblinkError
from ...protocol.keys import Keys
from ..system.install_hint import install_command
from ..system.interpreter import InterpreterError, find_interpreter
from ..system.log_file import open_for_child
from ..system.process import Process
from ..system.process_group import MARK, mark_of
from ..system.sd_notify import VARIABLES
from ..system.worker_log import last_line
from .env_file import EnvFileError, worker_environment
from .platform import Launch

__all__ = ["SpawnError", "spawn", "why_it_ended"]


class SpawnError(NeverblinkError):
    """A worker's process could not be started."""


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
    """Start the worker, and give it `keys` on the way, and this umask (-1: ours).

    `descriptors` is the limit on open files for what the bot forks; see `protocol.assignment`.

    When its log file cannot be opened it is started all the same, and `warn` gets the reason. The worker tries again by
    itself. Raises `SpawnError` with the mend when the interpreter, the directory or the environment file is not there.
    """
    directory = launch.directory.resolve()
    try:
        python = find_interpreter(launch.python, environment)
    except InterpreterError as problem:
        raise SpawnError(problem.message) from None
    if not directory.is_dir():
        raise SpawnError(f"release directory {directory} is gone: deploy again")
    # Only the pipe has them: neither arguments nor environment, and nothing that is kept here.
    told = encode_assignment(msgspec.structs.replace(launch.assignment, keys=keys, descriptors=descriptors))
    try:
        readable, writable = os.pipe()
    except OSError as problem:
        raise SpawnError(f"worker {launch.assignment.worker} cannot be started: {problem}") from None
    try:
        os.set_blocking(writable, False)
        # An assignment is a few hundred bytes and a pipe holds 64 KiB: this can't block, and needs no reader yet.
        if os.write(writable, told) != len(told):
            raise SpawnError(f"the assignment of worker {launch.assignment.worker} does not fit into a pipe")
        with open_for_child(launch.log, warn) as log:
            child = subprocess.Popen(
                [python, "-m", "neverblink.worker", launch.target],
                cwd=directory,
                env=_environment(
                    worker_environment(environment, launch.env_file, launch.data), readable, launch.assignment
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(readable,),
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


def why_it_ended(launch: Launch, status: str) -> str:
    """One line on why a worker ended: `status`, and the last thing in its log; with the mend where that is known."""
    said = last_line(launch.log)
    if "No module named" in said and "neverblink" in said:
        return (
            f"{launch.python} has no neverblink: install it there (`{install_command(python=launch.python)}`), "
            "or set `python` in neverblink.toml to an interpreter that has it"
        )
    if status.startswith("killed by"):
        # What it printed last has nothing to do with that.
        return status
    return f"{status}: {said}" if said else status


def _environment(ours: Mapping[str, str], pipe: int, assignment: Assignment) -> dict[str, str]:
    # With PYTHONSAFEPATH set, -m would leave the release's directory out of sys.path, and nothing would be found.
    theirs = {name: value for name, value in ours.items() if name not in {"PYTHONSAFEPATH", *VARIABLES}}
    mark = mark_of(assignment.worker, assignment.run)
    return {**theirs, VARIABLE: str(pipe), MARK: mark, "PYTHONUNBUFFERED": "1"}
