"""Standard input, output and error of a command: there, whatever it was started with.

`neverblink status <&- >&-` is what some schedulers do. Then the next file that the process opens becomes its standard
input or output, and Python's own objects for them are None.
"""

from __future__ import annotations

import io
import os
import sys

__all__ = ["complete_streams"]


def complete_streams() -> None:
    """Open what is closed on the null device, and let no character that can't be encoded raise. Call it first."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python's type says that they are always there.
    missing: list[object] = [sys.stdin, sys.stdout, sys.stderr]
    if missing[0] is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if missing[1] is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if missing[2] is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
