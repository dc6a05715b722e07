"""A run of the benchmark: one figure after the other, and what happens when one cannot be measured.

A figure that fails must not stop the others, nor look like one that was not requested: it is named with a one-line
reason, its values are null in the object, and the run's exit code says that something is missing.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import msgspec

from .figure import Figure, Scale, show

__all__ = ["Measure", "Run", "run"]

Measure = Callable[[Scale, Path], Figure]
"""Measures a figure; the directory is its own, empty, and gone afterwards."""

_LONGEST = 300
"""Maximum length of a reason, in characters."""


class Run(msgspec.Struct):
    """What was measured, and `failed`: the name of each figure that could not be measured, and why."""

    figures: list[Figure] = []
    failed: dict[str, str] = {}


def run(wanted: Mapping[str, Measure], scale: Scale, output: TextIO, *, trace: bool = False) -> Run:
    """Measure the wanted figures, by name, and write each to `said` as soon as it is there."""
    done = Run()
    for name, measure in wanted.items():
        began = time.monotonic()
        try:
            # A killed process may still write here. What it leaves is cleared at the next boot and is not a failure.
            with tempfile.TemporaryDirectory(prefix="neverblink-bench-", ignore_cleanup_errors=True) as tmp:
                figure = measure(scale, Path(tmp))
        except Exception as error:
            done.failed[name] = _why(error)
            print(f"{name} could not be measured: {done.failed[name]}", file=output)
            if trace:
                traceback.print_exception(error, file=output)
        else:
            done.figures.append(figure)
            print(show(figure), file=output)
        print(f"  [{name}, {time.monotonic() - began:.1f} s]\n", file=output, flush=True)
    return done


def _why(error: Exception) -> str:
    """One line for people: what went wrong, and the last line that a failed program printed."""
    kind = type(error).__name__
    words = " ".join(str(error).split())
    printed: bytes | str | None = None
    if isinstance(error, subprocess.CalledProcessError | subprocess.TimeoutExpired):
        printed = error.stderr or error.output
    if printed:
        text = printed.decode(errors="replace") if isinstance(printed, bytes) else printed
        words += f" It said: {text.strip().splitlines()[-1]}"
    line = f"{kind}: {words}" if words else kind
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
