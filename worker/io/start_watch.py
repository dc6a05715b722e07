"""Says where the main thread is while a bot does not get to its start.

A script that blocks while it is imported, or before it calls `join`, looks like one that starts slowly. So the log has
a line after 5, 10, 20 seconds and so on that names the line of code.
"""

from __future__ import annotations

import linecache
import sys
import threading
from pathlib import Path
from types import FrameType

from .output import report

__all__ = ["StartWatch"]

_FIRST = 5.0
"""Seconds until the first line."""


class StartWatch:
    """Watches the thread that makes it, from `begin` to `end`. `what` says what has not happened yet."""

    def __init__(self, first: float = _FIRST) -> None:
        self._first = first
        self._over = threading.Event()
        self._thread = threading.get_ident()
        self._what = ""

    def begin(self, what: str) -> None:
        self._what = what
        if not self._over.is_set():
            self._over.set()
        self._over = threading.Event()
        threading.Thread(target=self._watch, args=(self._over,), name="neverblink-start", daemon=True).start()

    def end(self) -> None:
        self._over.set()

    def _watch(self, over: threading.Event) -> None:
        after = wait = self._first
        while not over.wait(wait):
            where = place_of(sys._current_frames().get(self._thread), Path.cwd())  # pyright: ignore[reportPrivateUsage]
            report(
                f"WARNING: neverblink: {self._what} after {after:g}s{f': it is at {where}' if where else ''}"
            )
            after, wait = 2 * after, after


def place_of(frame: FrameType | None, project: Path) -> str:
    """The innermost line of the project's own code on a stack, as `bot.py:12, in main: time.sleep(60)`."""
    while frame is not None:
        name = frame.f_code.co_filename
        path = Path(name)
        if path.is_relative_to(project) and not {"site-packages", ".venv"} & set(path.parts):
            line = linecache.getline(name, frame.f_lineno).strip()
            return f"{path.relative_to(project)}:{frame.f_lineno}, in {frame.f_code.co_name}: {line}"
        frame = frame.f_back
    return ""
