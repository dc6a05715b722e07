"""A bot that `neverblink run` runs alone beside a home, and the live bot of that home: never both.

Both may send orders with the same keys and write to the same data directory. `run` locks the file `alone` in the home
and then looks for a supervisor; a supervisor claims the home and then looks at this lock. So at least one of two that
begin at once sees the other. The kernel drops the lock when the last process that has it ends.
"""

from __future__ import annotations

import fcntl
import os

from ...protocol.errors import NeverblinkError
from ...protocol.lease import lock_owner, lock_query
from .living_workers import alive_in, named
from .state_dir import Home, HomeError

__all__ = ["AloneBusy", "hold_alone", "refuse_beside_alone", "why_live"]

_FILE = "alone"


class AloneBusy(NeverblinkError):
    """The bot of this home runs already: live, or alone."""


def why_live(home: Home) -> str:
    """What makes the bot of this home live, "" if it is not: its supervisor, or workers that run without one."""
    if (owner := home.owner()) is not None:
        return f"its supervisor runs (pid {owner.pid})"
    found = alive_in(home)
    return f"it runs without a supervisor: {named(found)}" if found else ""


def hold_alone(home: Home) -> int:
    """Lock the home for a bot that runs alone; return the open file, which a child process may inherit.

    Raises `AloneBusy` when another one has the lock.
    """
    path = home.path / _FILE
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise HomeError(home.path, f"{_FILE} can't be opened: {problem.strerror}") from None
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock_query())
    except (BlockingIOError, PermissionError):
        pid = _pid_in(file)
        os.close(file)
        raise AloneBusy(f"the bot runs alone already{pid}: stop it there with Ctrl-C") from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def refuse_beside_alone(home: Home) -> None:
    """Raise `AloneBusy` when `neverblink run` runs the bot of this home."""
    try:
        file = os.open(home.path / _FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if lock_owner(fcntl.fcntl(file, fcntl.F_OFD_GETLK, lock_query())) is not None:
            raise AloneBusy(
                f"`neverblink run` runs this bot alone{_pid_in(file)}, with the same keys and data: "
                "stop it with Ctrl-C before you start the live bot"
            )
    finally:
        os.close(file)


def _pid_in(file: int) -> str:
    written = os.pread(file, 32, 0).decode(errors="replace").strip()
    return f" (pid {written})" if written.isdigit() else ""
