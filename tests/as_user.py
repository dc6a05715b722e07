"""Runs a command as an ordinary user: `python as_user.py UID COMMAND...`, as root.

The interpreter of a checkout may lie in a directory that is root's alone. In a mount namespace of the command's own
that directory is replaced by one that shows others the way to the interpreter, and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path

__all__ = ["as_user"]


def as_user(uid: int, *command: str | Path) -> list[str]:
    """The command line that runs `command` as this user."""
    return [sys.executable, "-I", "-S", __file__, str(uid), *map(str, command)]


def _open_the_way(to: str) -> None:
    closed = [place for place in reversed(Path(to).parents) if not place.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    private, bind = 1 << 18, 4096
    assert libc.unshare(0x00020000) == 0, os.strerror(ctypes.get_errno())
    assert libc.mount(None, b"/", None, private | 16384, None) == 0, os.strerror(ctypes.get_errno())
    tree = os.open(to, os.O_PATH)
    top = os.fsencode(closed[0])
    assert libc.mount(b"tmpfs", top, b"tmpfs", 0, b"mode=0755") == 0, os.strerror(ctypes.get_errno())
    os.makedirs(to)
    source = f"/proc/self/fd/{tree}".encode()
    assert libc.mount(source, os.fsencode(to), None, bind, None) == 0, os.strerror(ctypes.get_errno())
    os.close(tree)


if __name__ == "__main__":
    user = int(sys.argv[1])
    _open_the_way(os.path.realpath(sys.base_prefix))
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    os.execvp(sys.argv[2], sys.argv[2:])
