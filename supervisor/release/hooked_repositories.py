"""The repositories that deploy to a home: a link for each, made by `hook install`, so that the home can find them.

repositories/
    foresight.git-3f9c0d1e -> /srv/foresight.git
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from ..store.state_dir import Home

__all__ = ["forget", "remember", "repositories"]

_SHOWN = 8


def remember(home: Path, repository: Path) -> None:
    """Record in the home, which is made if needed, that the hooks of this repository deploy to it.

    Does nothing in another user's home: files made there would not be theirs. Raises `HomeError` and `OSError`.
    """
    if home.exists() and home.stat().st_uid != os.geteuid():
        return
    place = Home.open(home).repositories
    place.mkdir(mode=0o700, exist_ok=True)
    link = place / _name(repository)
    if not link.is_symlink():
        link.symlink_to(repository)


def forget(home: Path, repository: Path) -> None:
    """Remove the record, if there is one."""
    with contextlib.suppress(OSError):
        (Home(home).repositories / _name(repository)).unlink(missing_ok=True)


def repositories(home: Home) -> list[Path]:
    """The existing repositories whose hooks deploy to this home."""
    try:
        links = sorted(home.repositories.iterdir())
        return [Path(os.readlink(link)) for link in links if link.is_dir()]
    except OSError:
        return []


def _name(repository: Path) -> str:
    digest = hashlib.sha256(os.fsencode(repository)).hexdigest()[:_SHOWN]
    return f"{repository.name}-{digest}"
