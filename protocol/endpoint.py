"""A socket's ipc address: that of a name in a directory, whose path may be long.

A unix socket's path has at most 107 bytes, a home's path may have more. Therefore a long directory is opened once and
named by its descriptor: /proc/self/fd/7/supervisor.sock is short, and is the same file. Each process does that for
itself, because the descriptor is its own; messages between processes contain the directory.

No I/O here: the caller of `endpoint` opens the directory, and keeps it open for as long as it has sockets there.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import NeverblinkError

__all__ = ["LONGEST_PATH", "EndpointError", "endpoint"]

LONGEST_PATH = 107
"""Bytes of a path in a unix socket's address, without the closing NUL (Linux)."""


class EndpointError(NeverblinkError, ValueError):
    """A socket cannot have this `directory` and `name`."""

    def __init__(self, message: str, directory: str, name: str) -> None:
        super().__init__(message)
        self.directory = directory
        self.name = name


def endpoint(directory: str, name: str, open_directory: Callable[[str], int]) -> str:
    """The ZeroMQ endpoint of the socket `name` in `directory` (absolute), to bind or to connect.

    `open_directory(directory)` is called only when the plain path does not fit, and returns a descriptor of it that
    stays open as long as the sockets do (`os.open(directory, os.O_PATH | os.O_DIRECTORY)`). Raises `EndpointError`
    for a relative directory, and for an invalid name.
    """
    if not directory.startswith("/"):
        raise EndpointError(
            f'socket directory "{directory}": expected an absolute path, since working directories differ',
            directory,
            name,
        )
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise EndpointError(f'socket name "{name}": expected a plain file name', directory, name)
    path = f"{directory.rstrip('/')}/{name}"
    if _fits(path):
        return f"ipc://{path}"
    short = f"/proc/self/fd/{open_directory(directory)}/{name}"
    if not _fits(short):
        raise EndpointError(f'socket name "{name}": too long, shorten it', directory, name)
    return f"ipc://{short}"


def _fits(path: str) -> bool:
    try:
        return len(path.encode()) <= LONGEST_PATH
    except UnicodeEncodeError:
        # A path that is not UTF-8 can't be part of an address, however short.
        return False
