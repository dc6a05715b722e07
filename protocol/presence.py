"""Presence: a mark that each process of a bot leaves with the kernel, outside the bot's home. No I/O here.

The home holds the lock of its supervisor and the lease of its leader. Both are files, and a file can be removed under a
living bot (`rm -rf .neverblink`, `git clean -fdx`). A supervisor that is started then would make a new home, find its
lock and its lease free, and a second bot would tick. So supervisors and workers also bind an abstract unix socket. It
has no file, and the kernel drops it when its process ends.

The address of the socket says everything: the home's key, the process and its role. No process listens. To look for
the processes of a home is to read /proc/net/unix. Each process has an address of its own, so marks never conflict;
whether a process found may go on beside the reader is the reader's decision.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

__all__ = ["Presence", "Role", "address_of", "home_key", "presences"]

Role = Literal["supervisor", "worker"]

_PREFIX = "neverblink"
_ROLES = ("supervisor", "worker")


class Presence(msgspec.Struct, frozen=True):
    """A process of a home. `pid` and `started` (field 22 of /proc/PID/stat) are one process while the host is up."""

    pid: int
    started: int
    role: Role
    home: str = ""
    """The id of the home that it was started in, "" for a supervisor: it may be another one at the same path by now."""


def home_key(path: str, root: tuple[int, int]) -> str:
    """Return the key of the home at `path`, absolute and resolved but for its last part.

    `root` is the device and inode of the root directory: containers that share a network have the same abstract
    sockets, and may have homes at the same path.
    """
    return hashlib.sha256(f"{root[0]}:{root[1]}\0{path}".encode(errors="surrogateescape")).hexdigest()[:24]


def address_of(key: str, presence: Presence) -> bytes:
    """Return the abstract address that marks `presence` in the home with this key."""
    return f"\0{_PREFIX}/{key}/{presence.role}/{presence.pid}.{presence.started}.{presence.home}".encode(
        "ascii"
    )


def presences(table: str, key: str) -> list[Presence]:
    """Return the processes of the home with this key, in the text of /proc/net/unix."""
    before = f"@{_PREFIX}/{key}/"
    found: list[Presence] = []
    for line in table.splitlines():
        address = line.rpartition(" ")[2]
        if not address.startswith(before):
            continue
        role, _, process = address.removeprefix(before).partition("/")
        pid, _, rest = process.partition(".")
        started, _, home = rest.partition(".")
        # Any user can bind such an address: what it says is checked, and used only to find a process.
        if role in _ROLES and pid.isascii() and pid.isdigit() and started.isascii() and started.isdigit():
            found.append(Presence(int(pid), int(started), role, home))
    return found
