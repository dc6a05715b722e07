"""Reads `control.json`, the only file with which other programs control the supervisor.

The path may hold anything: a link to another file, a pipe that never ends, a directory, another user's file, or a file
that is being written. It is opened so that none of these does harm, and checked through the descriptor, so that it
cannot be exchanged in between.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import msgspec

from ...protocol import size
from ...protocol.commands import MAX_REQUEST
from ...protocol.control import ControlError

__all__ = ["Text", "look", "read"]

Look = tuple[int, int, int, int]
"""Identifies a version of the file: inode, size, and the times of its last changes (mtime and ctime, ns)."""


class Text(msgspec.Struct, frozen=True):
    """The contents of the file, and the version that was read."""

    data: bytes
    look: Look


def look(path: Path) -> Look | None:
    """The version of the file at `path`, None when there is none. Opens nothing."""
    try:
        return _look(os.lstat(path))
    except OSError:
        return None


def read(path: Path, owner: int) -> Text | None:
    """The contents of the file, None when there is none. Raises `ControlError` when it must not or cannot be read.

    Only a file of the user `owner` is accepted.
    """
    try:
        # Without waiting for the writer of a pipe, and without following a link.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.EMLINK):
            raise ControlError("it is a symbolic link: put the file itself there, with a rename") from None
        raise ControlError(f"it cannot be opened: {problem.strerror}") from None
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            raise ControlError(f"it is {_kind(about.st_mode)}: expected a file")
        if about.st_uid != owner:
            raise ControlError(
                f"it belongs to user {about.st_uid}: only a file of the user who runs the bot ({owner}) is accepted"
            )
        if about.st_size > MAX_REQUEST:
            raise ControlError(f"it has {about.st_size} bytes: at most {size.show(MAX_REQUEST)} are read")
        data = _all(file)
        if len(data) > MAX_REQUEST:
            raise ControlError(f"it grows while it is read: at most {size.show(MAX_REQUEST)} are read")
        return Text(data, _look(about))
    except OSError as problem:
        raise ControlError(f"it cannot be read: {problem.strerror}") from None
    finally:
        os.close(file)


def _all(file: int) -> bytes:
    data = b""
    while len(data) <= MAX_REQUEST and (more := os.read(file, MAX_REQUEST + 1 - len(data))):
        data += more
    return data


def _look(about: os.stat_result) -> Look:
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return name
    return "a special file"
