"""The user of this process: name, home directory, and, as root, acting as another user.

Root may push into a user's repository and query a user's bot. What root creates there belongs to root: the user can
no longer push, and the next `up` refuses a home with another user's files. So root gives away what it made, and a hook
that runs as root continues as the owner."""

from __future__ import annotations

import getpass
import os
import pwd
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ...protocol.errors import NeverblinkError
from .text import clean

__all__ = ["NoHomeDirectory", "account_name", "act_as_owner_of", "expanded", "give_to_owner"]


class NoHomeDirectory(NeverblinkError):
    """`path` begins with ~, and the home directory of that user is unknown."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: the home directory is not known: set HOME, or write the whole path")
        self.path = path


def account_name(unknown: str = "") -> str:
    """The user's name, else `unknown`, else the user's number: a container may run as a user without a name."""
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


def give_to_owner(directory: Path, but_not_in: Collection[Path] = ()) -> None:
    """As root, give root's files in a user's directory to that user. Links are not followed."""
    owner = _other_owner(directory)
    if owner is None:
        return
    uid, gid = owner
    # By descriptors: the user may replace a directory by a link while this runs.
    for path, directories, files, at in os.fwalk(directory):
        directories[:] = [name for name in directories if Path(path, name) not in but_not_in]
        for name in (*directories, *files):
            with suppress(OSError):
                found = os.stat(name, dir_fd=at, follow_symlinks=False)
                # A file with a second hard link may belong elsewhere: only files with one link were made in here.
                if found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                    os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)


def act_as_owner_of(directory: Path) -> bool:
    """As root, switch this process to the owner of the directory; return whether it did."""
    owner = _other_owner(directory)
    if owner is None:
        return False
    uid, gid = owner
    try:
        account = pwd.getpwuid(uid)
        os.initgroups(account.pw_name, gid)
        # git and others would read root's files there, which this user cannot open.
        os.environ["HOME"] = account.pw_dir
    except (KeyError, OSError):
        os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    return True


def _other_owner(directory: Path) -> tuple[int, int] | None:
    """The user and group of the directory, if this process is root and the directory belongs to another user."""
    if os.geteuid() != 0:
        return None
    try:
        found = directory.stat()
    except OSError:
        return None
    return (found.st_uid, found.st_gid) if found.st_uid != 0 else None
