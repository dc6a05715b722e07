"""Keeps a home private: no other user can enter it, or read or write anything in it, whatever the umask.

The home's own mode (0700) keeps others out. Its contents are closed as well, because a directory is easily copied,
mounted or shared, and then each file's own mode counts. It is closed from the top down: no other user can put anything
into a directory that is closed.

Files of another user are refused, not taken over: that user could open them again, and a supervisor that is root would
write where another user can move things. A symbolic link of another user is refused too: it was made while others could
write here, and may lead anywhere. This user's own links are followed like directories (a journal may be on another
disk); logs and the history never follow a link.
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
    """`path` belongs to the user with the number `owner`, not to this one."""

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
    """Remove all permissions of group and others from the directory `root` and everything in it.

    The directory `but_not_in` is closed, and its direct entries must belong to this user: others may have put something
    there before. Deeper levels are left as they are.

    Links of this user stay, and their targets are not checked. Raises `NotOurs` for what belongs to
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
                    # A live worker rotates its journal meanwhile.
                    continue
                if path == but_not_in:
                    _check_entries(path)
                elif entry.is_dir():
                    waiting.append(path)


@contextmanager
def privately(umask: int = _OTHERS) -> Generator[int]:
    """Inside, files that this process makes are private to its user; yields the previous umask.

    The umask applies to all threads of the process.
    """
    before = os.umask(umask)
    try:
        yield before
    finally:
        os.umask(before)


def no_access(path: Path) -> str:
    """Why this process cannot read the file or directory `path`, with the fix; "" when it can or nothing exists there.
    Why this process cannot read the file or directory `path`, with the fix; "" when it can or nothing exists there."""
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
    """The name of the user with this number, or `user NUMBER`."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _check_link(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode) and found.st_uid != os.geteuid():
        raise ForeignLink(path, found.st_uid)


def _check_entries(directory: Path) -> None:
    """Raise `NotOurs` for a direct entry of the directory that belongs to another user."""
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
