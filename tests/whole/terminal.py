"""A command in a real pseudo-terminal, and what it has drawn there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .live import NEVERBLINK, WITHIN

__all__ = ["Terminal"]

_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[()].|[=>])")


class Terminal:
    """`neverblink ARGV` in a terminal of 80 columns and 24 lines. To be closed."""

    def __init__(self, *argv: str | Path, where: Path, environment: Mapping[str, str]) -> None:
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._before = termios.tcgetattr(self._theirs)
        left = {
            name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        self._process = subprocess.Popen(
            [*NEVERBLINK, *map(str, argv)],
            cwd=where,
            env={**left, "TERM": "xterm-256color"},
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
        )
        self.raw = ""

    def shows(self, *texts: str) -> str:
        """Wait until it has drawn all of these since the last call; return what it has drawn."""
        return self._draws(lambda drawn: all(text in drawn for text in texts), f"{texts}")

    def shows_no_more(self, text: str, last: str) -> None:
        """Wait until it has drawn a whole screen, which ends in `last`, without this."""
        self._draws(
            lambda drawn: drawn.count(last) > 1 and text not in drawn.split(last)[-2],
            f"a screen without {text!r}",
        )

    def _draws(self, wanted: Callable[[str], bool], what: str) -> str:
        drawn = ""
        until = time.monotonic() + WITHIN
        while not wanted(drawn):
            left = until - time.monotonic()
            assert left > 0, f"not drawn: {what}\n{drawn[-4000:]}"
            if select.select([self._ours], [], [], left)[0]:
                self.raw += os.read(self._ours, 65536).decode(errors="replace")
                drawn = _ESCAPE.sub("", self.raw)
        self.raw = ""
        return drawn

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def ends(self) -> int:
        """Wait for its end, and see that the terminal is as it was; return the exit code."""
        until = time.monotonic() + WITHIN
        while self._process.poll() is None:
            assert time.monotonic() < until, "it has not ended"
            # It cannot end while its output is not read.
            if select.select([self._ours], [], [], 0.05)[0]:
                self.raw += os.read(self._ours, 65536).decode(errors="replace")
        while select.select([self._ours], [], [], 0)[0]:
            self.raw += os.read(self._ours, 65536).decode(errors="replace")
        assert termios.tcgetattr(self._theirs) == self._before
        return self._process.returncode

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)
