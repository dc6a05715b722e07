"""A process: its identity, its end, and what it is doing.

A pid alone may be reused by another process; a pid with its start time is unique until the host restarts. The end is
signalled by a pidfd, which becomes readable when the process ends: no SIGCHLD handler, no polling, and no other child
is reaped. The end of a process that an earlier supervisor started is signalled in the same way, but only a parent gets
the exit status, so that stays unknown.

A process that sends nothing may be stopped, wait for a disk, compute, or be blocked for ever: /proc tells these apart.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...protocol.lease import started_of
from ...protocol.presence import field_of

__all__ = [
    "Adopted",
    "Process",
    "ProcessActivity",
    "alive",
    "describe_exit",
    "doing",
    "is_stopped",
    "started_at",
]


class _Watched:
    """A process behind a pidfd."""

    def __init__(self, pid: int, started: int, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self.pid = pid
        self.started = started
        self._fd = fd
        self._loop = loop
        loop.add_reader(fd, self._ended)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; return False when the process is gone. Never reaches another process with the same pid."""
        if self._fd < 0:
            return False
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return False
        return True

    def let_go(self) -> None:
        """Stop watching; the process keeps running."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _ended(self) -> None:
        raise NotImplementedError


class Process(_Watched):
    """Watches a child. `on_exit(code)` is called once from the loop: the exit status, negative for a signal.

    Raises `OSError` when it cannot be watched because no descriptor is free; then the child has been killed.
    """

    def __init__(
        self, child: subprocess.Popen[bytes], on_exit: Callable[[int], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.code: int | None = None
        self._child = child
        self._on_exit = on_exit
        # Only this class reaps it, so the pid is still the child's, and so is the pidfd.
        try:
            fd = os.pidfd_open(child.pid)
        except OSError:
            child.kill()
            child.wait()
            raise
        super().__init__(child.pid, started_at(child.pid) or 0, fd, loop)

    @property
    def running(self) -> bool:
        return self.code is None

    def _ended(self) -> None:
        found = os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)
        if found is None:
            return
        self.let_go()
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        # Otherwise Popen would wait for the pid itself later, when it may be another process.
        self._child.returncode = code
        self.code = code
        self._on_exit(code)


class Adopted(_Watched):
    """Watches a process that another process started. `on_exit(None)` is called once from the loop, when it has ended.

    Raises ProcessLookupError when this process no longer runs.
    """

    def __init__(
        self, pid: int, started: int, on_exit: Callable[[None], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._on_exit = on_exit
        fd = os.pidfd_open(pid)
        # In this order: the pidfd is bound to one process first, then that process is checked.
        if not alive(pid, started):
            os.close(fd)
            raise ProcessLookupError(pid)
        super().__init__(pid, started, fd, loop)

    def _ended(self) -> None:
        self.let_go()
        self._on_exit(None)


def started_at(pid: int) -> int | None:
    """The start time of a live process in clock ticks since boot, None when there is none with this pid."""
    try:
        return started_of(Path(f"/proc/{pid}/stat").read_bytes())
    except (OSError, ValueError, IndexError):
        return None


def alive(pid: int, started: int) -> bool:
    """Whether this process (not just its pid) still runs. A zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return started_of(stat) == started and field_of(stat, 3) not in (b"Z", b"X")
    except (OSError, ValueError, IndexError):
        return False


def is_stopped(pid: int) -> bool:
    """Whether the process was stopped by a signal, as by Ctrl-Z."""
    try:
        return field_of(Path(f"/proc/{pid}/stat").read_bytes(), 3) in (b"T", b"t")
    except (OSError, ValueError, IndexError):
        return False


def describe_exit(code: int) -> str:
    """An exit status in words: `exit 1`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class ProcessActivity(msgspec.Struct, frozen=True):
    """`state` is the letter of /proc/PID/stat (R runs, S sleeps, D waits for a disk, T is stopped, Z is dead).

    `cpu` is the time all its threads have computed, ns. `tracer` is the pid of a debugger that is attached, 0 without.
    """

    state: str
    cpu: int = 0
    tracer: int = 0


def doing(pid: int) -> ProcessActivity | None:
    """What process `pid` is doing, None when it does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        status = Path(f"/proc/{pid}/status").read_bytes()
        tracer = status.partition(b"\nTracerPid:")[2].split()[0]
        ticks = int(field_of(stat, 14)) + int(field_of(stat, 15))
        return ProcessActivity(field_of(stat, 3).decode(), ticks * _TICK, int(tracer))
    except (OSError, ValueError, IndexError):
        return None
