"""Output to the person who pushed, in the style of dokku and Heroku: git puts `remote:` before each line.

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
        self.connected = True
        """Whether the output is still read. A broken connection changes nothing else."""
        self._out = out
        self._clock = clock
        self._wrote = self._since = clock()

    def step(self, text: str) -> None:
        """The next step."""
        self._since = self._clock()
        self._write(f"-----> {visible(text)}\n")

    def detail(self, text: str) -> None:
        """A line about the step."""
        self._write(f"{_INDENT}{visible(text)}\n")

    def warn(self, text: str) -> None:
        """A warning: git colours its first word."""
        self._write(f"{' !     warning: '}{visible(text)}\n")

    def verdict(self, text: str) -> None:
        """The result."""
        self._write(f"=====> {visible(text)}\n")

    def banner(self, what: str, *details: str) -> None:
        """A failure in a frame: git reports the push itself as successful in any case."""
        lines = ["", _RULE, f"error: {what}", *details, _RULE, ""]
        self._write("".join(f"{visible(line)}\n" for line in lines))

    def alive(self, doing: str) -> None:
        """Break a silence that has lasted `ALIVE_EVERY` with what is waited for."""
        now = self._clock()
        if now - self._wrote >= ALIVE_EVERY:
            self._write(
                f"{_INDENT}… {visible(doing, keep='')}, {last(int(now - self._since) * 1_000_000_000)}\r"
            )

    def _write(self, text: str) -> None:
        self._wrote = self._clock()
        if self.connected:
            self.connected = put(self._out, text)
