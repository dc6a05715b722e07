"""Standard streams that always exist and whose errors never end the program, and a writer that never blocks.

Some schedulers run `neverblink status <&- >&-`. Then the next file that the process opens becomes its standard input or
output, and Python's own objects for them are None. A reader that has gone (`| head`), a full disk and a closed terminal
are not errors either: from then on the text is dropped, and the stream keeps the reason.
"""

from __future__ import annotations

import io
import os
import queue
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

__all__ = ["BackgroundWriter", "StandardStream", "complete_streams", "in_background", "why_lost"]


class StandardStream(io.TextIOWrapper):
    """Text to a descriptor. `lost` is the first error of a write, None when all was written."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._raw = _Raw(descriptor)
        raw: Any = self._raw
        super().__init__(raw, encoding=encoding, errors="backslashreplace", write_through=True)

    @property
    def lost(self) -> OSError | None:
        return self._raw.lost


class _Raw(io.RawIOBase):
    def __init__(self, descriptor: int) -> None:
        self.lost: OSError | None = None
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any, /) -> int:
        content = bytes(data)
        rest = content
        try:
            while rest and self.lost is None:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as problem:
            self.lost = problem
        return len(content)

    def close(self) -> None:
        """Leave the descriptor open: it belongs to the process."""


def complete_streams() -> None:
    """Open closed streams on the null device, and let no output raise. Call it first."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Its declared type is never None.
    missing: object = sys.stdin
    if missing is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        before: TextIO | None = getattr(sys, name)
        if before is not None:
            with suppress(OSError, ValueError):
                before.flush()
        setattr(sys, name, StandardStream(descriptor, getattr(before, "encoding", None) or "utf-8"))


def why_lost(out: TextIO) -> OSError | None:
    """Why text written to `out` was lost; None when nothing was lost."""
    return out.lost if isinstance(out, StandardStream) else None


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
        """Queue `text` for writing. Never blocks, never raises."""
        try:
            if self._dropped:
                self._waiting.put_nowait(self._encoded(f"({self._dropped} lines were not shown)\n"))
                self._dropped = 0
            self._waiting.put_nowait(self._encoded(text))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write the queued lines, for at most half a second."""
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
                # Not through `out`: a thread blocked in its buffer would delay the interpreter's exit.
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                # The terminal or the reader is gone; a later write may succeed.
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
