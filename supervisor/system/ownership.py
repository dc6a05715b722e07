"""Keeps a user's files the user's when root works on them.

Root may push into a user's repository and ask about a user's bot. What root creates there belongs to root: the user
can't push any more, and the next `up` refuses a home with foreign files. So root gives away what it made, and a hook
that runs as root goes on as the owner.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

__all__ = ["act_as_owner_of", "give_to_owner"]


def give_to_owner(directory: Path, but_not_in: Collection[Path] = ()) -> None:
    """As root, give what belongs to root in a user's directory to that user. Links are not followed."""
    owner = _other_owner(directory)
    if owner is None:
        return
    uid, gid = owner
    # By descriptors: the user may put a link in a directory's place while this goes on.
    for path, directories, files, at in os.fwalk(directory):
        directories[:] = [name for name in directories if Path(path, name) not in but_not_in]
        for name in (*directories, *files):
            with suppress(OSError):
                found = os.stat(name, dir_fd=at, follow_symlinks=False)
                # A file with a second name may be anyone's: only what has one was made in here.
                if found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                    os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)


def act_as_owner_of(directory: Path) -> bool:
    """As root, become the user whom the directory belongs to, for the rest of this process; return whether it did."""
    owner = _other_owner(directory)
    if owner is None:
        return False
    uid, gid = owner
    try:
        account = pwd.getpwuid(uid)
        os.initgroups(account.pw_name, gid)
        # What git and others read there would be root's, and closed to this user.
        os.environ["HOME"] = account.pw_dir
    except (KeyError, OSError):
        os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    return True


def _other_owner(directory: Path) -> tuple[int, int] | None:
    """The user and group of the directory, when this is root and the directory is another user's."""
    if os.geteuid() != 0:
        return None
    try:
        found = directory.stat()
    except OSError:
        return None
    return (found.st_uid, found.st_gid) if found.st_uid != 0 else None
