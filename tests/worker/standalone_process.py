"""A bot that runs alone, in a real process of its own: `python bot.py`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import msgspec

__all__ = ["LOOPING", "Ended", "StandaloneProcess"]

PATIENCE = 60.0

LOOPING = """
import signal
import threading
import time


def tell():
    while signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        time.sleep(0.002)
    print("looping", flush=True)


threading.Thread(target=tell, daemon=True).start()
"""
"""Has a bot say "looping" once an interrupt is its own affair."""


class Ended(msgspec.Struct, frozen=True):
    """How it ended: its exit status, and what it wrote since the last line waited for."""

    status: int
    output: str
    errors: str


class StandaloneProcess:
    """A process on the bot `text`. One that hangs is killed, so that a test fails and does not hang too."""

    def __init__(self, place: Path, text: str) -> None:
        (place / "bot.py").write_text(text, encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "bot.py"], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._watch = threading.Timer(PATIENCE, self._process.kill)

    def wait_for(self, line: str) -> None:
        """Read on until it says this line."""
        assert self._process.stdout is not None
        while (output := self._process.stdout.readline()) != line + "\n":
            assert output, f"it ended without having said {line!r}: {self.end()}"

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> Ended:
        self._process.send_signal(number)
        return self.end()

    def end(self) -> Ended:
        """Wait for its end."""
        output, errors = self._process.communicate()
        return Ended(self._process.returncode, output, errors)

    def __enter__(self) -> StandaloneProcess:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.cancel()
        self._process.kill()
        self._process.communicate()
