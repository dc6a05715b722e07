"""Copies a home while its bot runs: a backup, which `up` accepts as a new life of the bot, here or on another machine.

The history is copied before the journal, and the journal's newest segment last, so that what the copy has of the bot's
state is never older than what its history says. What belongs to running processes (sockets, locks, keys of one run) and
what is built again (environments) stays out, and so do the logs.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from ..system.disk import sync_filesystem
from .state_dir import Home, HomeError

__all__ = ["Backup", "back_up"]

_FILES = ("tokens", "identity")
_DIRECTORIES = ("releases", "data", "keys", "repositories")


class Backup(msgspec.Struct, frozen=True):
    """A backup that was made. `segments` of the journal are in it."""

    path: str
    bytes: int
    segments: int


def back_up(home: Home, target: Path) -> Backup:
    """Copy `home` to the directory `target`, which is made. Raises `HomeError`; then nothing is left there."""
    if not home.journal.is_dir():
        raise HomeError(home.path, "there is nothing to back up: a bot begins its home with `neverblink up`")
    if target.is_relative_to(home.path):
        raise HomeError(target, "a backup cannot lie in the home that it is of: name a directory elsewhere")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HomeError(target, "it exists already, and is not empty: name a new directory")
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        new.mkdir(mode=0o700, parents=True)
        _copy(home, new)
        segments = _copy_journal(home.journal, new / "journal")
        sync_filesystem(new)
        if target.exists():
            target.rmdir()
        new.rename(target)
    except (OSError, shutil.Error, sqlite3.Error) as problem:
        shutil.rmtree(new, ignore_errors=True)
        why = (isinstance(problem, OSError) and problem.strerror) or problem
        raise HomeError(target, f"the backup cannot be written: {why}") from None
    size = sum(path.lstat().st_size for path in target.rglob("*") if path.is_file())
    return Backup(str(target), size, segments)


def _copy(home: Home, new: Path) -> None:
    if home.database.is_file():
        there, here = f"file:{home.database}?mode=ro", new / home.database.name
        # SQLite's own copy is whole, whatever is written meanwhile.
        with closing(sqlite3.connect(there, uri=True)) as source, closing(sqlite3.connect(here)) as copy:
            source.backup(copy)
    for name in _DIRECTORIES:
        if (home.path / name).is_dir():
            shutil.copytree(home.path / name, new / name, symlinks=True)
    for name in _FILES:
        if (home.path / name).is_file():
            shutil.copy2(home.path / name, new / name)


def _copy_journal(journal: Path, new: Path) -> int:
    """Copy the segments, oldest first; one that the leader removes meanwhile is one that it no longer needs."""
    new.mkdir(mode=0o700)
    copied: set[str] = set()
    while True:
        names = sorted(path.name for path in journal.glob("*.journal") if path.name not in copied)
        if not names:
            return sum(1 for _ in new.glob("*.journal"))
        for name in names:
            copied.add(name)
            try:
                shutil.copy2(journal / name, new / name)
            except FileNotFoundError:
                continue
