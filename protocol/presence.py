"""Presence: how a bot's processes are identified, outside the bot's home. No I/O here.

The home holds the lock of its supervisor and the lease of its leader. Both are files, and files can be removed under a
running bot (`rm -rf .neverblink`, `git clean -fdx`). A supervisor that is started then would make a new home with a
free lock and a free lease, and a second bot would tick. So supervisors and workers also bind an abstract Unix socket.
It has no file, and the kernel removes it when the process ends.

The address of the socket has all the information: the home's key, the process and its role. No process listens. Read
/proc/net/unix to find the processes of a home. Each process has its own address, so marks never conflict. The reader
decides whether a process that it finds may continue beside it.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

__all__ = ["Presence", "Role", "address_of", "field_of", "home_key", "presences"]

Role = Literal["supervisor", "worker", "feed"]

_PREFIX = "neverblink"
_ROLES = ("supervisor", "worker", "feed")


class Presence(msgspec.Struct, frozen=True):
    """A process of a home. `pid` and `started` (field 22 of /proc/PID/stat) identify it while the host is up."""

    pid: int
    started: int
    role: Role
    home: str = ""
    """The id of the home that it was started in, "" for a supervisor. Another home may be at the path by now."""


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


def field_of(stat: bytes, number: int) -> bytes:
    """Return a field of the text of /proc/PID/stat, by its number in proc_pid_stat(5), from 3 on.

    The second field, the program's name, may contain blanks and brackets. Raises ValueError or IndexError for another
    text.
    """
    return stat[stat.rindex(b")") + 1 :].split()[number - 3]
