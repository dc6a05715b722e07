"""A worker's assignment: the data that it gets at its start.

The supervisor writes it as JSON into a pipe and names the pipe's descriptor in the environment variable
`NEVERBLINK_ASSIGNMENT`. A worker without that variable runs standalone.
"""

from __future__ import annotations

import msgspec

from .errors import NeverblinkError
from .feed_named import FeedNamed
from .keys import Keys
from .listening import InheritedSocket
from .logline import Format
from .wire import UNDECODABLE

__all__ = [
    "CHECK_JOURNAL",
    "SHELL_STATE",
    "SOURCES",
    "VARIABLE",
    "Assignment",
    "AssignmentError",
    "decode_assignment",
    "encode_assignment",
]

VARIABLE = "NEVERBLINK_ASSIGNMENT"

CHECK_JOURNAL = "NEVERBLINK_CHECK_JOURNAL"
"""Names to `--check` a journal whose state the bot's code is compared with."""

SHELL_STATE = "NEVERBLINK_SHELL_STATE"
"""Tells `--shell` in JSON where the bot's state is."""

SOURCES = "src"
"""The directory in a release that may contain the bot's module, instead of the top."""


class AssignmentError(NeverblinkError):
    """The assignment could not be read."""


class Assignment(msgspec.Struct, frozen=True):
    """A worker's identity, and what it shares with the others. Paths are absolute, times in ns."""

    bot: str
    """The bot's name."""
    worker: str
    """This worker's id, unique in the home."""
    release: str
    run: str
    """Directory of the sockets. The supervisor's is `supervisor.sock`; a worker's own is `<worker>.sock`."""
    lease: str
    journal: str
    durability: str = "process"
    journal_segment: int = 16 * 1024 * 1024
    """Bytes after which a new segment is begun."""
    journal_keep: int = 1024 * 1024 * 1024
    """The bound on all segments together, in bytes."""
    journal_keep_for: int = 30 * 86_400_000_000_000
    """How long a segment is kept after its last record."""
    pulse: int = 200_000_000
    """How often the worker reports to the supervisor when nothing happens."""
    lease_within: int = 250_000_000
    """After yielding, how long until it takes the lease back if it is still free."""
    hang_after: int = 2_000_000_000
    """In probation, how long after a due tick the leader may be silent."""
    deployment: int = 0
    """The number of the deployment that it was started for, 0 without one."""
    log: Format = "text"
    """The format of the lines that it prints."""
    log_file: str = ""
    """The file for these lines, to which its standard output and error lead at the start; "" if unknown."""
    log_size: int = 16 * 1024 * 1024
    """Bytes at which the worker rotates that file."""
    log_keep: int = 4
    """How many rotated files are kept."""
    known: int = -1
    """The last frame that a leader is known to have made, -1 for none: a shorter journal lacks frames."""
    last_readable: bool = False
    """If the newest state cannot be read, begin with the newest one that can, paused."""
    home_key: str = ""
    """The name by which the worker marks its process in the kernel: see `presence`."""
    descriptors: int = 0
    """The limit on open files (RLIMIT_NOFILE) that processes forked by the bot are given; 0 for the worker's own."""
    home_id: str = ""
    """The home's id: later there may be another home at the same path."""
    drop: tuple[str, ...] | None = None
    """The fields whose values may be lost when it takes over another release's state: see `state_changes`. None from a
    supervisor that cannot say it: then it refuses nothing."""
    recovers: bool = False
    """It is started because the leader died, and no operator has named the code. It leads even if values are lost, but
    paused."""
    feeds: tuple[FeedNamed, ...] = ()
    """The feeds that it subscribes to."""
    keys: Keys | None = None
    """The keys to authenticate with. Only the pipe has them, no argument and no environment variable."""
    sockets: tuple[InheritedSocket, ...] = ()
    """The listening sockets that it inherits."""


def encode_assignment(assignment: Assignment) -> bytes:
    return msgspec.json.encode(assignment)


def decode_assignment(data: bytes) -> Assignment:
    """Return the assignment in `data`; raise `AssignmentError` if it is not an assignment."""
    try:
        return msgspec.json.decode(data, type=Assignment)
    except UNDECODABLE as problem:
        raise AssignmentError(
            f"{VARIABLE} does not lead to an assignment ({problem}): unset it to run standalone"
        ) from None
