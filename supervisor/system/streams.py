"""Standard input, output and error of a process of ours: there, and never a reason to end what is being done.

`neverblink status <&- >&-` is what some schedulers do. Then the next file that the process opens becomes its standard
input or output, and Python's own objects for them are None. And a reader that has gone (`| head`), a full disk and a
terminal that was closed are no reason to stop either: from then on the text is dropped, and the stream knows why.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["StandardStream", "complete_streams", "why_lost"]


class StandardStream(io.TextIOWrapper):
    """Text to a descriptor. `lost` is the first error that a write met, None when all was written."""

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
        """Stay open: the descriptor is the process's."""


def complete_streams() -> None:
    """Open what is closed on the null device, and let no output raise. Call it first."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python's type says that they are always there.
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
    """Why something that was written to `out` is lost; None when nothing is."""
    return out.lost if isinstance(out, StandardStream) else None
