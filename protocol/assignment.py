"""What a worker is told when it is started, before it can ask anybody.

The supervisor writes it as JSON into a pipe and names the pipe's descriptor in the environment variable
`NEVERBLINK_ASSIGNMENT`. A worker without that variable runs standalone.
"""

from __future__ import annotations

import msgspec

from .errors import NeverblinkError
from .keys import Keys
from .logline import Format
from .wire import UNDECODABLE

__all__ = ["SOURCES", "VARIABLE", "Assignment", "AssignmentError", "decode_assignment", "encode_assignment"]

VARIABLE = "NEVERBLINK_ASSIGNMENT"

SOURCES = "src"
"""Where in a release the bot's module may lie instead of at the top."""


class AssignmentError(NeverblinkError):
    """The assignment could not be read."""


class Assignment(msgspec.Struct, frozen=True):
    """Who a worker is, and where it finds what it shares with the others. Paths are absolute, times in ns."""

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
    """Bytes that all segments together may have."""
    journal_keep_for: int = 30 * 86_400_000_000_000
    """How long a segment is kept after its last record."""
    pulse: int = 200_000_000
    """How often the worker reports to the supervisor when nothing happens."""
    lease_within: int = 250_000_000
    """After yielding, how long until it takes the lease back if it is still free."""
    hang_after: int = 2_000_000_000
    """In probation, how long past a due tick the leader may be silent."""
    deployment: int = 0
    """The number of the deployment that it was started for, 0 without one."""
    log: Format = "text"
    """How the lines that it prints are written."""
    log_file: str = ""
    """The file that they go to, which its standard output and error lead to when it starts; "": no more is known."""
    log_size: int = 16 * 1024 * 1024
    """Bytes at which the worker rotates that file."""
    log_keep: int = 4
    """How many older ones are kept."""
    known: int = -1
    """The last frame that a leader is known to have made, -1 for none: a journal that ends before it lacks frames."""
    home_key: str = ""
    """Under which the worker marks its process with the kernel: see `presence`."""
    descriptors: int = 0
    """The limit on open files (RLIMIT_NOFILE) that processes forked by the bot are given; 0 for the worker's own."""
    home_id: str = ""
    """The home's id: at the same path there may be another one by and by."""
    keys: Keys | None = None
    """By which it proves itself. The pipe is the only way they go: no argument and no environment has them."""


def encode_assignment(assignment: Assignment) -> bytes:
    return msgspec.json.encode(assignment)


def decode_assignment(data: bytes) -> Assignment:
    """Return the assignment in `data`; raise `AssignmentError` when it is none."""
    try:
        return msgspec.json.decode(data, type=Assignment)
    except UNDECODABLE as problem:
        raise AssignmentError(
            f"{VARIABLE} does not lead to an assignment ({problem}): unset it to run standalone"
        ) from None
