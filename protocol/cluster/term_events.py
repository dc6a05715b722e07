"""The events and commands of `term`: the input from its driver, and what the driver has to do.

`now` is the host's CLOCK_BOOTTIME, ns: it goes on while the machine is suspended.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from .log_record import LogEntry, RecordPosition

__all__ = [
    "AppendLanded",
    "AppendRecord",
    "AppendUnknown",
    "BeginTerm",
    "ConfirmParts",
    "DeliverEntry",
    "EndTerm",
    "KeepAside",
    "LogRead",
    "OpenFence",
    "ReadLog",
    "ReplicatorStarted",
    "ReportLost",
    "SendYield",
    "Ship",
    "ShutFence",
    "TermCommand",
    "TermEvent",
    "TermRole",
    "TimePassed",
    "YieldReceived",
    "YieldTerm",
]


class TermRole(Enum):
    STARTING = "starting"
    """The log was not read yet."""
    WAITING = "waiting"
    """Another host holds the term, or none does."""
    CLAIMING = "claiming"
    """This host appended a TERM, and does not know yet whether it is in the log."""
    HOLDING = "holding"
    """This host has the right to run the bot, while its fence is open."""
    YIELDING = "yielding"
    """The fence is shut for good; the YIELD is not known to be in the log yet."""
    LOST = "lost"
    """The engine lost acknowledged records. A person has to decide which copy is right."""


# --- events ---------------------------------------------------------------------------------------------------------


class ReplicatorStarted(msgspec.Struct, frozen=True):
    """The replicator runs."""

    now: int


class LogRead(msgspec.Struct, frozen=True):
    """Records that follow each other in the log.

    `end` is the number of the log's last record when it was read, by a read that sees every acknowledged append; None
    when the engine sent the records by itself.
    """

    entries: tuple[LogEntry, ...]
    end: int | None
    now: int


class AppendLanded(msgspec.Struct, frozen=True):
    """The engine acknowledged the append of `digest` as record `number`."""

    number: int
    digest: bytes
    now: int


class AppendUnknown(msgspec.Struct, frozen=True):
    """The append of `digest` was refused, or not answered in time. Neither proves that it is not in the log."""

    digest: bytes
    now: int


class Ship(msgspec.Struct, frozen=True):
    """The leader on this host wrote these records of its journal."""

    parts: tuple[bytes, ...]
    now: int


class YieldTerm(msgspec.Struct, frozen=True):
    """The worker on this host let go of the kernel's lease, in favour of host `to`. `parts` are its last records."""

    to: str
    parts: tuple[bytes, ...]
    now: int


class YieldReceived(msgspec.Struct, frozen=True):
    """The host that yields sent its YIELD directly, too. It proves nothing: the log does."""

    entry: LogEntry
    now: int


class TimePassed(msgspec.Struct, frozen=True):
    """The clock reached `wake_at`."""

    now: int


TermEvent = (
    ReplicatorStarted | LogRead | AppendLanded | AppendUnknown | Ship | YieldTerm | YieldReceived | TimePassed
)


# --- commands -------------------------------------------------------------------------------------------------------


class ReadLog(msgspec.Struct, frozen=True):
    """Read all records after `after`, up to the end, and answer with `LogRead`."""

    after: int


class AppendRecord(msgspec.Struct, frozen=True):
    """Append the encoded record if the log's last record is number `expect`. The same again after an unknown result."""

    expect: int
    data: bytes
    digest: bytes


class SendYield(msgspec.Struct, frozen=True):
    """Send the YIELD that is being appended to host `to` directly. If that fails, the log has it."""

    to: str
    number: int
    data: bytes


class OpenFence(msgspec.Struct, frozen=True):
    """The worker on this host may begin turns until `until`, CLOCK_BOOTTIME ns."""

    until: int


class ShutFence(msgspec.Struct, frozen=True):
    """No turn begins on this host any more."""


class BeginTerm(msgspec.Struct, frozen=True):
    """This host holds `term`: its worker may take the kernel's lease, once the fence is open."""

    term: int


class EndTerm(msgspec.Struct, frozen=True):
    """Another host holds `term`: the worker here is deposed and follows it."""

    term: int
    host: str


class KeepAside(msgspec.Struct, frozen=True):
    """These journal records are not in the log, and will not come into it: keep them, and show them."""

    parts: tuple[bytes, ...]


class ConfirmParts(msgspec.Struct, frozen=True):
    """The next `count` of the shipped journal records are acknowledged by the engine."""

    count: int


class DeliverEntry(msgspec.Struct, frozen=True):
    """A valid record of another host or of an earlier term: apply it to the local journal."""

    entry: LogEntry


class ReportLost(msgspec.Struct, frozen=True):
    """The log is not what was acknowledged, and how it differs."""

    reason: str
    known: RecordPosition


TermCommand = (
    ReadLog
    | AppendRecord
    | SendYield
    | OpenFence
    | ShutFence
    | BeginTerm
    | EndTerm
    | KeepAside
    | ConfirmParts
    | DeliverEntry
    | ReportLost
)
