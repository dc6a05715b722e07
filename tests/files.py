"""Reading a directory that a running bot writes to: what goes away meanwhile is left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["contents", "entries_below"]


def entries_below(*places: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each place and everything below it, with what `lstat` says of it."""
    for place in places:
        for path in (place, *place.rglob("*")):
            with suppress(FileNotFoundError):
                yield path, path.lstat()


def contents(place: Path) -> dict[Path, bytes]:
    """The regular files below `place`."""
    found: dict[Path, bytes] = {}
    for path, status in entries_below(place):
        if stat.S_ISREG(status.st_mode):
            with suppress(FileNotFoundError):
                found[path] = path.read_bytes()
    return found
