"""A home is for its user alone: no other user can enter it, or read or write anything in it, whatever the umask was.

The home's own mode (0700) is what keeps others out. What is in it is closed all the same, because a directory is
copied, mounted or shared more easily than one thinks, and then each file stands for itself. It is closed from the top
down: once a directory is closed, no other user can put anything into it meanwhile.

What another user owns is not made ours: that user can open it again, and a supervisor that is root would write into
what another user can move. So that is refused. A symbolic link of another user's is refused too: it was planted while
others could write here, and leads to where that user wants us to write. Our own links are followed as directories are
(a journal may lie on a disk of its own); logs and the history never follow one.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ...protocol.errors import NeverblinkError

__all__ = ["ForeignLink", "NotOurs", "close_to_others", "no_access", "privately", "user_name"]

_OTHERS = 0o077


class NotOurs(NeverblinkError):
    """`path` belongs to the user with the number `owner`."""

    def __init__(self, path: Path, owner: int) -> None:
        me, them = user_name(os.geteuid()), user_name(owner)
        super().__init__(
            f"{path} belongs to {them}, and this is {me}: run neverblink as {them}, name another home, or make all of "
            f"it {me}'s with `chown -R`"
        )
        self.path = path
        self.owner = owner


class ForeignLink(NotOurs):
    """`path` is a symbolic link of the user with the number `owner`."""

    def __init__(self, path: Path, owner: int) -> None:
        super().__init__(path, owner)
        self.message = (
            f"{path} is a symbolic link that {user_name(owner)} made, and this is {user_name(os.geteuid())}: it is not "
            f"followed. Look where it leads, and remove the link (rm {shlex.quote(str(path))})"
        )


def close_to_others(root: Path, but_not_in: Path | None = None) -> None:
    """Take every right of the group and of others from the directory `root` and all that is in it.

    The directory `but_not_in` is closed, and what is right in it must be this user's: others may have put something
    there while they could. Deeper in it all is left as it is.

    Links of this user stay as they are, and where they lead to is not looked at. Raises `NotOurs` for what belongs to
    another user, links included, and `OSError`.
    """
    _check_link(root, root.lstat())
    _close(root, root.stat())
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                path = Path(entry.path)
                try:
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISLNK(found.st_mode):
                        _check_link(path, found)
                        continue
                    _close(path, found)
                except FileNotFoundError:
                    # A worker that is alive goes on writing its journal, and leaves.
                    continue
                if path == but_not_in:
                    _check_entries(path)
                elif entry.is_dir():
                    waiting.append(path)


@contextmanager
def privately(umask: int = _OTHERS) -> Generator[int]:
    """While entered, what this process makes is for its user alone; gives the umask that was in force before.

    The umask is the whole process's, all its threads included.
    """
    before = os.umask(umask)
    try:
        yield before
    finally:
        os.umask(before)


def no_access(path: Path) -> str:
    """Why this process can't read the file or directory `path`, with the mend; "" when it can, or nothing is there."""
    for place in (*reversed(path.parents), path):
        try:
            found = place.stat()
        except OSError:
            return ""
        needed = os.X_OK if place != path else os.R_OK | os.X_OK if stat.S_ISDIR(found.st_mode) else os.R_OK
        if not os.access(place, needed, effective_ids=os.access in os.supports_effective_ids):
            them, me = user_name(found.st_uid), user_name(os.geteuid())
            what = "it" if place == path else str(place)
            return f"{what} belongs to {them} and is closed to {me}: run this as {them} (sudo -u {them} neverblink …)"
    return ""


def user_name(number: int) -> str:
    """The name of the user with this number, as far as it has one here."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _check_link(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode) and found.st_uid != os.geteuid():
        raise ForeignLink(path, found.st_uid)


def _check_entries(directory: Path) -> None:
    """Raise `NotOurs` for what belongs to another user right in the directory."""
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            _check_link(Path(entry.path), found)
            if found.st_uid != os.geteuid():
                raise NotOurs(Path(entry.path), found.st_uid)


def _close(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise NotOurs(path, found.st_uid)
    mode = stat.S_IMODE(found.st_mode)
    if mode & _OTHERS:
        path.chmod(mode & ~_OTHERS)
