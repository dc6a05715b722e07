"""Writes text to a terminal or a pipe from a thread of its own, so that a reader that has stopped holds up no one else.

A terminal that is held (Ctrl-S) and a full pipe block who writes to them, and no flag of ours can change that without
changing it for the shell as well. So a thread is blocked instead of the supervisor; what does not fit into its queue is
dropped and counted.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["BackgroundWriter", "in_background"]

_MOST_WAITING = 1000
_CLOSE_WITHIN = 0.5


class BackgroundWriter:
    """Writes lines to `out`, which has a descriptor. To be closed."""

    def __init__(self, out: TextIO, most_waiting: int = _MOST_WAITING) -> None:
        self._descriptor = out.fileno()
        self._encoding = getattr(out, "encoding", None) or "utf-8"
        self._waiting: queue.Queue[bytes | None] = queue.Queue(most_waiting)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Have `text` written soon. Never blocks, never raises."""
        try:
            if self._dropped:
                self._waiting.put_nowait(self._encoded(f"({self._dropped} lines were not shown)\n"))
                self._dropped = 0
            self._waiting.put_nowait(self._encoded(text))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what is waiting, as far as it can be written in half a second."""
        try:
            self._waiting.put(None, timeout=_CLOSE_WITHIN)
        except queue.Full:
            return
        self._thread.join(_CLOSE_WITHIN)

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, errors="replace")

    def _run(self) -> None:
        while (data := self._waiting.get()) is not None:
            try:
                # Not through `out`: a thread that is blocked in its buffer would hold up the interpreter's end.
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                # The terminal or the reader is gone; there may be others of its kind, so go on.
                continue


@contextmanager
def in_background(out: TextIO | None) -> Generator[BackgroundWriter | TextIO | None]:
    """A writer to `out` that does not block; `out` itself where it has no descriptor."""
    try:
        if out is not None:
            out.fileno()
    except (OSError, ValueError):
        yield out
        return
    if out is None:
        yield None
        return
    writer = BackgroundWriter(out)
    try:
        yield writer
    finally:
        writer.close()
