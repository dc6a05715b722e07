"""Taking over: what a worker does between holding the lease and being able to lead.

Whoever leads has every frame that was ever journaled. In a handoff that is so already, and one look at the journal's
length confirms it; after a death the rest is read from the file, and what the dead leader left half written is cut off.
"""

from __future__ import annotations

from itertools import islice

from ..protocol.frame import decode_frame
from ..protocol.journal import (
    Entry,
    JournalError,
    Position,
    RecordKind,
    Rows,
    decode_closed,
    decode_opened,
    decode_rows,
    decode_snapshot,
    encode_payload,
)
from ..protocol.wire import WireError
from .journal import Journal
from .migration import MigrationError
from .replica import ChainBroken, Replica
from .state import StateUnreadable

__all__ = ["begin", "catch_up", "resume"]

_ROWS = 4096


def begin(replica: Replica, journal: Journal) -> None:
    """Give the bot its first state, and open the journal with it. Raises `StateError` and `JournalError`."""
    cells = replica.cells
    replica.state = state = cells.fresh()
    records = [(RecordKind.SNAPSHOT, encode_payload(replica.snapshot()))]
    for table in cells.sizes(state):
        keys = iter(cells.keys(state, table))
        while some := list(islice(keys, _ROWS)):
            rows = Rows(table, cells.rows(state, table, some))
            records.append((RecordKind.ROWS, encode_payload(rows)))
    replica.position = journal.begin(records)


def resume(replica: Replica, journal: Journal) -> None:
    """Go on from where the journal ends: the bot as its last leader left it.

    Raises `JournalError`, and `StateUnreadable` or `MigrationError` when this code cannot read the state.
    """
    segment = journal.newest()
    begun = False
    for entry in journal.read_on(Position(segment, 0)):
        match entry.kind:
            case RecordKind.SNAPSHOT:
                begun = True
                replica.restore(decode_snapshot(entry.payload), Position(segment, entry.end))
            case RecordKind.ROWS if begun:
                rows = decode_rows(entry.payload)
                replica.add_rows(rows.table, rows.rows)
            case _ if begun:
                _apply(replica, entry, strict=True)
            case _:
                break
    if not begun:
        raise JournalError(
            f"segment {segment}", "it does not open with a snapshot, so there is nothing to go on from"
        )
    journal.mend()


def catch_up(replica: Replica, journal: Journal) -> None:
    """Apply what the journal has beyond `replica`. Raises `JournalError` when it cannot be read, or is another bot's.

    Frames that this code cannot read freeze the replica: their effects are lost to it, the chain is not.
    """
    if journal.attach(replica.position):
        return
    for entry in journal.read_on(replica.position):
        try:
            _apply(replica, entry)
        except (WireError, ChainBroken) as problem:
            raise JournalError(
                f"at byte {entry.end}",
                f"it does not continue what this worker followed ({problem or 'another chain'}): "
                "start the bot anew with `neverblink up --fresh`, and look at it with `neverblink audit`",
            ) from None
    journal.mend()


def _apply(replica: Replica, entry: Entry, *, strict: bool = False) -> None:
    match entry.kind:
        case RecordKind.FRAME:
            frame = decode_frame(entry.payload)
            if frame.number <= replica.number:
                return
            position = Position(replica.position.segment, entry.end)
            try:
                replica.apply(frame, entry.payload, position)
            except (StateUnreadable, MigrationError) as problem:
                if strict:
                    raise
                replica.freeze(str(problem))
                replica.apply(frame, entry.payload, position)
        case RecordKind.OPENED:
            replica.note(decode_opened(entry.payload), "")
        case RecordKind.CLOSED:
            replica.note(None, decode_closed(entry.payload))
        case _:
            pass
