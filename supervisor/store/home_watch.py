"""Watches the home of a running supervisor, and restores what was removed from it.

A home can be removed, moved or replaced under a living bot (`rm -rf .neverblink`, `git clean -fdx`, a cleaner of
temporary files). The bot ticks on, since it may hold a position. What was removed is restored: directories, lock,
sockets, keys and history; the leader restores its journal and lease. Each step is reported. A moved home is not
restored at its old path, because then there would be two: the report says where it is, and the watch continues when
it is back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ...protocol.errors import NeverblinkError
from .state_dir import Home, HomeBusy, HomeClaim, HomeError

__all__ = ["HomeWatch"]

_EVERY = 1.0
"""Seconds between two checks."""


class HomeWatch:
    """Watches `home`, which `claim` owns. Calls `tell(state, text)` once for each change. Close it at the end.

    `restore()` restores files of other parts in the home and returns their names. It may raise `OSError` and
    `NeverblinkError`.
    """

    def __init__(
        self,
        home: Home,
        claim: HomeClaim,
        restore: Callable[[], list[str]],
        tell: Callable[[Literal["removed", "moved", "remade"], str], None],
    ) -> None:
        self._home = home
        self._claim = claim
        self._restore = restore
        self._tell = tell
        self._directory = os.open(home.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._reported = ""
        """The last problem reported, "" when it is over."""
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(_EVERY, self._look)

    @property
    def problem(self) -> str:
        """What is wrong with the home, "" for nothing."""
        return self._reported

    def check(self) -> None:
        """Check now."""
        if self._directory < 0:
            return
        try:
            self._check()
        except (OSError, NeverblinkError) as problem:
            why = problem.message if isinstance(problem, NeverblinkError) else problem.strerror
            self._say("removed", f"files of the home can't be made again: {why}. The bot goes on")

    def close(self) -> None:
        self._next.cancel()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _look(self) -> None:
        self.check()
        self._next = self._loop.call_later(_EVERY, self._look)

    def _check(self) -> None:
        if not self._is_here():
            moved = self._moved_to()
            if moved is not None:
                self._say(
                    "moved",
                    f"the home was moved to {moved} while the bot runs. The bot goes on, and nothing can be deployed: "
                    f"move it back to {self._home.path}",
                )
                return
            self._say(
                "removed",
                f"the home {self._home.path} was removed while the bot runs: releases, logs and history are lost. The "
                "bot goes on, and what it needs is made again",
            )
        made = self._make_again()
        if made or self._reported:
            self._reported = ""
            self._tell(
                "remade",
                f"made again in the home, as it was removed while the bot runs: {', '.join(made)}"
                if made
                else f"the home is at {self._home.path} again",
            )

    def _make_again(self) -> list[str]:
        home = self._home
        made = [
            f"{path.name}/"
            for path in (home.path, home.journal, home.run, home.releases, home.environments, home.logs)
            if not path.is_dir()
        ]
        if made:
            Home.open(home.path)
        if not self._is_here():
            fresh = os.open(home.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.close(self._directory)
            self._directory = fresh
        try:
            if self._claim.renew(home):
                made.append(home.lock.name)
        except HomeBusy as busy:
            raise HomeError(
                home.path, f"another supervisor has its lock (pid {busy.pid}): end that one"
            ) from None
        return made + self._restore()

    def _is_here(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._home.path), os.fstat(self._directory))
        except OSError:
            return False

    def _moved_to(self) -> Path | None:
        """The new path of the directory that was this home, None when it was removed."""
        with suppress(OSError):
            path = Path(os.readlink(f"/proc/self/fd/{self._directory}"))
            if path != self._home.path and os.path.samestat(path.stat(), os.fstat(self._directory)):
                return path
        return None

    def _say(self, state: Literal["removed", "moved"], text: str) -> None:
        if text != self._reported:
            self._reported = text
            self._tell(state, text)
