"""Runs a program in this terminal in place of the command line, and passes signals on to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from .exit_codes import BadInput, Exit

__all__ = ["exit_of_child", "run_in_terminal"]

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_KERNEL = 0x80
"""`si_code` of a signal that the terminal has sent to all processes in the foreground."""


def run_in_terminal(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    output_to_stderr: bool = False,
    pass_fds: Collection[int] = (),
) -> int:
    """Run the command until it ends; return its status as `subprocess` does.

    A Ctrl-C reaches it from the terminal. A signal that another process sends to this one is passed on.
    """
    awaited = {*_PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        try:
            child = subprocess.Popen(
                command,
                cwd=directory,
                env=dict(environment),
                stdout=sys.stderr if output_to_stderr else None,
                pass_fds=pass_fds,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
            )
        except OSError as problem:
            raise BadInput(f"{command[0]} cannot be run: {problem.strerror}") from None
        while (status := child.poll()) is None:
            arrived = signal.sigwaitinfo(awaited)
            if arrived.si_signo != signal.SIGCHLD and arrived.si_code != _BY_KERNEL:
                os.kill(child.pid, arrived.si_signo)
        return status
    finally:
        while signal.sigtimedwait(awaited, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_of_child(status: int) -> Exit:
    """The exit code for how a program ended."""
    if status == 0:
        return Exit.DONE
    return Exit.INTERRUPTED if status in (-signal.SIGINT, 128 + signal.SIGINT) else Exit.BROKEN
