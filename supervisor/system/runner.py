"""Runs one program and ends everything that it started. Called by path, with the standard library alone:

    python -I -S runner.py COMMAND [ARGUMENT ...]

The program starts when a line arrives on standard input, so that what it inherits can be set before. It ends, with all
its descendants, when standard input ends: when the run is cancelled, or the supervisor dies. The exit status is the
program's own; a program that was killed by a signal is told apart by the same signal.

A descendant can leave the process group (`setsid`) but not this process: it is a subreaper, so whatever loses its
parent becomes its child.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CANNOT_RUN = 126


def main(command: list[str]) -> int:
    """Run `command`; return its exit status, negative for a signal."""
    if not os.read(0, 1):
        return -signal.SIGKILL
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child == 0:
        _become(command, libc)
    code = _watch(child)
    _end_descendants()
    return code


def _become(command: list[str], libc: ctypes.CDLL) -> None:
    try:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execvp(command[0], command)
    except OSError as problem:
        os.write(2, f"{command[0]} can't be run: {problem.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(_CANNOT_RUN)


def _watch(child: int) -> int:
    """Wait until the child has ended, or is to be ended."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    while True:
        found = dict(poll.poll())
        if ended in found:
            break
        if 0 in found and not os.read(0, 4096):
            os.kill(child, signal.SIGKILL)
            poll.unregister(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _end_descendants() -> None:
    """Kill all children until there are none: those of a dead child become ours."""
    while children := _children():
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)


def _children() -> list[int]:
    me = str(os.getpid()).encode()
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name in parentheses may hold anything; the parent is the second field after it.
                    parent = file.read().rpartition(b")")[2].split()[1]
            except (OSError, IndexError):
                continue
            if parent == me:
                found.append(int(name))
    return found


if __name__ == "__main__":
    status = main(sys.argv[1:])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
    sys.exit(status)
