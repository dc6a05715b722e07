"""What a feed's process gets at its start: JSON in a pipe, whose descriptor the environment variable names."""

from __future__ import annotations

import msgspec

from .assignment import AssignmentError
from .keys import Key
from .logline import Format
from .wire import UNDECODABLE

__all__ = [
    "BUFFER",
    "FEED_VARIABLE",
    "FeedAssignment",
    "decode_feed_assignment",
    "encode_feed_assignment",
]

FEED_VARIABLE = "NEVERBLINK_FEED"

BUFFER = 16 * 1024 * 1024
"""The usual size of a replay buffer, bytes."""


class FeedAssignment(msgspec.Struct, frozen=True):
    """The identity of a feed's process. Paths are absolute."""

    bot: str
    feed: str
    """The feed's name."""
    target: str
    """MODULE:FUNCTION."""
    release: str
    run: str
    """The directory of the sockets."""
    file: str
    """The feed's file: see `feed_file`."""
    key: Key
    """That of the feed: see `feed_wire.feed_key`."""
    buffer: int = BUFFER
    """Bytes of the replay buffer."""
    settings: str = ""
    """A digest of the feed's table in the configuration, for its file."""
    log: Format = "text"
    log_file: str = ""
    log_size: int = 16 * 1024 * 1024
    log_keep: int = 4
    ready: int = -1
    """A descriptor of the writing end of a pipe, -1 for none. The process writes `ready` and closes it when it has
    imported the function, before it waits for the feed's lock, or the reason why it cannot."""
    home_key: str = ""
    home_id: str = ""
    ends_with_parent: bool = False
    """It ends when the process that started it has ended: a bot that runs alone."""
    starter: int = 0
    """The pid of the process that starts it: that may end before this one asks for its parent."""

    def __repr__(self) -> str:
        return f"FeedAssignment({self.feed!r})"


def encode_feed_assignment(assignment: FeedAssignment) -> bytes:
    return msgspec.json.encode(assignment)


def decode_feed_assignment(data: bytes) -> FeedAssignment:
    """Return the assignment in `data`; raise `AssignmentError` if it is not one."""
    try:
        return msgspec.json.decode(data, type=FeedAssignment)
    except UNDECODABLE as problem:
        raise AssignmentError(f"{FEED_VARIABLE} does not lead to a feed's assignment ({problem})") from None
