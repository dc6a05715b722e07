"""Speaking to whoever pushed, in the way of dokku and Heroku: git puts `remote:` before each line.

    -----> building the environment
           Resolved 12 packages in 10 ms
    =====> handed over at tick 48211 in 0.21 ms, 0 missed

git gives a line on as it comes, so each is flushed. A connection on which nothing is heard is cut by what lies in
between, so a long silence is broken by a line that ends in a carriage return: a terminal shows it in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from ..system.format import last
from ..system.text import visible
from ..terminal.screen import put

__all__ = ["ALIVE_EVERY", "PushOutput"]

ALIVE_EVERY = 5.0
"""Seconds of silence after which there is a sign of life."""

_RULE = "=" * 75
_INDENT = " " * 7


class PushOutput:
    """Writes to `out`. `clock` tells seconds that only grow."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.heard = True
        """Whether anybody still reads. Nobody does when the connection broke, and that changes nothing else."""
        self._out = out
        self._clock = clock
        self._spoke = self._since = clock()

    def step(self, text: str) -> None:
        """The next thing that happens."""
        self._since = self._clock()
        self._say(f"-----> {visible(text)}\n")

    def detail(self, text: str) -> None:
        """A line on it."""
        self._say(f"{_INDENT}{visible(text)}\n")

    def warn(self, text: str) -> None:
        """A line that should be seen: git colours its first word."""
        self._say(f"{' !     warning: '}{visible(text)}\n")

    def verdict(self, text: str) -> None:
        """What came of it."""
        self._say(f"=====> {visible(text)}\n")

    def banner(self, what: str, *details: str) -> None:
        """What nobody may miss: the push itself looks as if all were well, whatever came of it."""
        lines = ["", _RULE, f"error: {what}", *details, _RULE, ""]
        self._say("".join(f"{visible(line)}\n" for line in lines))

    def alive(self, doing: str) -> None:
        """Break a silence that has lasted `ALIVE_EVERY` with what is waited for."""
        now = self._clock()
        if now - self._spoke >= ALIVE_EVERY:
            self._say(
                f"{_INDENT}… {visible(doing, keep='')}, {last(int(now - self._since) * 1_000_000_000)}\r"
            )

    def _say(self, text: str) -> None:
        self._spoke = self._clock()
        if self.heard:
            self.heard = put(self._out, text)
