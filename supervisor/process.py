"""A process that we started: who it is, and the news that it has ended.

A pid alone can be another process by now; with its start time it is one process for as long as the host is up. The
end comes through a pidfd, which becomes readable the moment the process is gone: no SIGCHLD handler, no polling, and
nobody else's child is ever reaped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from ..protocol.lease import started_of

__all__ = ["Process", "alive", "describe_exit", "started_at"]


class Process:
    """Watches a child. `on_exit(code)` is called once from the loop: the exit status, negative for a signal."""

    def __init__(
        self, child: subprocess.Popen[bytes], on_exit: Callable[[int], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.pid = child.pid
        self.code: int | None = None
        self._child = child
        self._on_exit = on_exit
        self._loop = loop
        # Not reaped before we do it, so the pid is ours and the pidfd can't be somebody else's.
        self._fd = os.pidfd_open(child.pid)
        self.started = started_at(child.pid) or 0
        loop.add_reader(self._fd, self._ended)

    @property
    def running(self) -> bool:
        return self.code is None

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
        """Stop watching; the process runs on."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _ended(self) -> None:
        found = os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)
        if found is None:
            return
        self.let_go()
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        # Or Popen would wait for the pid by itself one day, and by then it may be another process.
        self._child.returncode = code
        self.code = code
        self._on_exit(code)


def started_at(pid: int) -> int | None:
    """The start time of a live process in clock ticks since boot, None when there is none with this pid."""
    try:
        return started_of(Path(f"/proc/{pid}/stat").read_bytes())
    except (OSError, ValueError, IndexError):
        return None


def alive(pid: int, started: int) -> bool:
    """Whether this very process still runs: not only the number, and not a zombie that nobody has reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        state = stat[stat.rindex(b")") + 1 :].split()[0]
        return started_of(stat) == started and state not in (b"Z", b"X")
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
