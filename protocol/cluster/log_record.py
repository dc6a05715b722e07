"""The records of a bot's log in the cluster's engine, and their digests.

The log of a bot is totally ordered: the engine gives each record the next number, from 1. A record names the digest of
the record before it, so that a reader sees whether it was written by a host that knew what lies before it. A record
whose `prev` is another one is *void*: it takes a number, and is ignored.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b

import msgspec

from ..wire import MessageCodec

__all__ = [
    "EMPTY",
    "MAX_RECORD",
    "LogEntry",
    "LogKind",
    "LogRecord",
    "RecordPosition",
    "entry_of",
    "log_codec",
]

MAX_RECORD = 512 * 1024
"""The largest record, in bytes encoded."""


class LogKind(Enum):
    TERM = "term"
    """The host that wrote it has the right to run the bot, from its acknowledgement on."""
    BATCH = "batch"
    """Records of the leader's journal, as they are."""
    YIELD = "yield"
    """The end of a term: the host `to` may begin the next one at once."""
    BEAT = "beat"
    """The host that holds the term is well."""


class LogRecord(msgspec.Struct, frozen=True, array_like=True):
    """One record.

    `log_id` names the life of the log: a log that was written anew has another one. `writer` names the life of the
    replicator: two processes of one host never write the same bytes, so the digest also says which of them did.
    """

    version: int
    log_id: str
    term: int
    host: str
    writer: str
    prev: bytes
    kind: LogKind
    parts: tuple[bytes, ...] = ()
    to: str = ""


class RecordPosition(msgspec.Struct, frozen=True):
    """A record by its number and digest. Number 0 is the beginning of the log."""

    number: int
    digest: bytes


class LogEntry(msgspec.Struct, frozen=True):
    """A record in its place."""

    number: int
    digest: bytes
    record: LogRecord

    @property
    def position(self) -> RecordPosition:
        return RecordPosition(self.number, self.digest)


EMPTY = RecordPosition(0, b"")

log_codec: MessageCodec[LogRecord] = MessageCodec(LogRecord, "a record of the cluster's log", MAX_RECORD)


def entry_of(number: int, data: bytes) -> LogEntry:
    """Return the record `data` in place `number`. Raises `WireError`.

    The digest is BLAKE2b (RFC 7693) of 16 bytes over the encoded record.
    """
    return LogEntry(number, blake2b(data, digest_size=16).digest(), log_codec.decode(data))
