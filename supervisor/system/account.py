"""Whose process this is, and where their home directory is: also for a user whom no password file knows."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from ...protocol.errors import NeverblinkError
from .text import clean

__all__ = ["NoHomeDirectory", "account_name", "expanded"]


class NoHomeDirectory(NeverblinkError):
    """`path` begins with ~, and that user has no home directory here."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: the home directory is not known: set HOME, or write the whole path")
        self.path = path


def account_name(unknown: str = "") -> str:
    """The user's name, else `unknown`, else the user's number. A container may run as a number without a name."""
    try:
        return clean(getpass.getuser())
    except (OSError, KeyError, ImportError):
        return unknown or str(os.getuid())


def expanded(path: Path) -> Path:
    """`path` with its ~ replaced. Raises `NoHomeDirectory`."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise NoHomeDirectory(path) from None
