"""Signals: what SIGINT, SIGTERM, SIGHUP and SIGTSTP do while the daemon serves. None of them is silent.

A closed terminal (SIGHUP) must not end the supervisor without a word. Ctrl-Z (SIGTSTP) stops the supervisor and not the
bot, whose workers have sessions of their own: it is said before that the bot goes on without a supervisor, and
afterwards how long that was.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Signals"]

_BEAT = 0.5
"""Seconds between two looks at the clock: so well it is known when the process was stopped."""
_SAY_FIRST = 0.3
"""Seconds for what is said to reach the terminal before the process is stopped."""


class Signals:
    """While entered: SIGINT and SIGTERM call `interrupt`, SIGHUP calls `hang_up`, from the loop.

    SIGTSTP calls `stopping` and then stops the process. Whatever stopped it, `resumed(seconds)` is called when it goes
    on. A SIGHUP that was ignored when this process began (nohup) stays ignored.
    """

    def __init__(
        self,
        interrupt: Callable[[], None],
        hang_up: Callable[[], None],
        stopping: Callable[[], None],
        resumed: Callable[[float], None],
    ) -> None:
        self._acts = {signal.SIGINT: interrupt, signal.SIGTERM: interrupt}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._acts[signal.SIGHUP] = hang_up
        self._stopping = stopping
        self._resumed = resumed
        self._loop = asyncio.get_running_loop()
        self._beat_at = time.monotonic()
        self._beats: asyncio.TimerHandle | None = None
        self._before: Any = None

    def __enter__(self) -> None:
        for number, act in self._acts.items():
            self._loop.add_signal_handler(number, act)
        self._loop.add_signal_handler(signal.SIGTSTP, self._stop)
        # Not through the loop: it must run before the next beat does.
        self._before = signal.signal(signal.SIGCONT, self._continue)
        self._beat()

    def __exit__(self, *_: object) -> None:
        if self._beats is not None:
            self._beats.cancel()
        signal.signal(signal.SIGCONT, self._before)
        for number in (*self._acts, signal.SIGTSTP):
            self._loop.remove_signal_handler(number)

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self._beats = self._loop.call_later(_BEAT, self._beat)

    def _stop(self) -> None:
        self._stopping()
        self._loop.call_later(_SAY_FIRST, os.kill, os.getpid(), signal.SIGSTOP)

    def _continue(self, number: int, frame: FrameType | None) -> None:
        lasted = time.monotonic() - self._beat_at
        self._loop.call_soon_threadsafe(self._resumed, lasted)
