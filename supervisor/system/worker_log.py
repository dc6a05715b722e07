"""Reads the end of a worker's or helper's log."""

from __future__ import annotations

import os
from pathlib import Path

from ...protocol.logline import decode_line

__all__ = ["last_line"]


def last_line(log: Path) -> str:
    """The last line in a log that is not blank, "" when there is none; at most 500 characters of it."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = decode_line(last)
    return (said.text if said is not None else last)[:500]
