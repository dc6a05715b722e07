"""The newest state that this code can read, when it cannot read the newest one.

A bug may have written a value that is not of its field's type. Every state since then has it, until it was overwritten.
Cells and rows are tried one by one, as each frame changes them, so the search finds the last frame after which all of
them could be read. The replica then gets the state of that frame. What came after it stays in the journal, and is left
out of the state: its changes, those of its events, and the outcome of its decisions, which are in doubt. The grid, the
timers, the keys of applied events, the settings and the chain go on from the newest frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ...protocol.frame import COMMAND, NOTHING, Changes, Frame, Schema
from ...protocol.journal import (
    Closed,
    JournalError,
    JournalTooNew,
    Opened,
    Position,
    RecordKind,
    Rows,
    Snapshot,
    decode,
)
from ...protocol.wire import UNDECODABLE, WireError
from ..journal.interfaces import Journal, SegmentEnd
from ..model.replica import Replica
from .recovery import RecoveredJournal, found_in
from .replay import SegmentReplay, end_of_snapshot

__all__ = ["resume_readable"]

_MOST_NAMES = 5

Record = Frame | Opened | Closed


def resume_readable(replica: Replica, journal: Journal, why: str) -> RecoveredJournal | None:
    """Restore the newest state that this code can read; None when the journal has none.

    Nothing is left out if what could not be read was overwritten since.

    `why` is what it cannot read in the newest. The replica follows the chain to its end all the same, and is frozen: so
    the worker that leads with it says its whole state again, in a frame that continues the chain.
    """
    numbers = [segment.number for segment in journal.stored()]
    later: list[Record] = []
    for at in reversed(range(len(numbers))):
        try:
            search = _Search(replica, journal, numbers[at], end_of_snapshot(journal, numbers[at]))
            newest = search.newest()
        except JournalTooNew:
            raise
        except (JournalError, WireError):
            continue
        if newest is None:
            later = [*search.records, *later]
            continue
        search.restore_at(newest)
        replica.freeze(why)
        reading = SegmentReplay(replica, journal)
        reading.read(numbers[at:], 0)
        left_out = _after(newest, [*search.records, *later])
        _put_in_doubt(replica, left_out)
        found = found_in(replica, journal, reading, reloaded=True)
        found.partly_read = True
        found.left_out = _told(left_out, why)
        return found
    return None


class _Search:
    """One segment, searched for the newest frame after which the whole state could be read."""

    def __init__(self, replica: Replica, journal: Journal, number: int, end: int) -> None:
        self.records: list[Record] = []
        """The frames and decisions of the segment, in order."""
        self._replica = replica
        self._number = number
        self._end = end
        self._bodies: dict[int, tuple[bytes, Position]] = {}
        self._head: Snapshot | None = None
        self._rows: list[Rows] = []
        for entry in journal.read(number):
            if isinstance(entry, SegmentEnd):
                break
            if entry.kind is RecordKind.WHOLE:
                continue
            match decode(entry):
                case Snapshot() as head:
                    self._head = head
                case Rows() as rows:
                    self._rows.append(rows)
                case Frame() as frame:
                    self._bodies[frame.number] = entry.payload, Position(number, entry.end)
                    self.records.append(frame)
                case Opened() | Closed() as decision:
                    self.records.append(decision)
                case _:
                    pass

    def newest(self) -> int | None:
        """The number of that frame, or of the snapshot; None when there is none."""
        found = None
        for number, state in self._states():
            if not state.bad:
                found = number
        return found

    def restore_at(self, number: int) -> None:
        """Make the replica what the bot was after that frame."""
        head = self._head
        assert head is not None
        state = next(state for at, state in self._states() if at == number)
        sizes = {table: len(rows) for table, rows in state.rows.items()}
        replica = self._replica
        replica.restore(
            msgspec.structs.replace(head, cells=state.cells, schema=state.schema, tables=sizes),
            Position(self._number, self._end, self._end),
        )
        for table, rows in state.rows.items():
            replica.add_rows(table, list(rows.items()))
        for record in self.records:
            match record:
                case Frame() if record.number > number:
                    break
                case Frame() if record.number > replica.number:
                    body, position = self._bodies[record.number]
                    # Its changes are in the state already; the rest of the frame is still to come.
                    kind: Any = "event" if record.kind == "reset" else record.kind
                    replica.apply(msgspec.structs.replace(record, changes=NOTHING, kind=kind), body, position)
                case Opened():
                    replica.note(record, "")
                case Closed():
                    replica.note(None, record)
                case _:
                    pass

    def _states(self) -> Iterator[tuple[int, _RawState]]:
        """The state after the snapshot and after each frame: one object, which goes on changing."""
        head = self._head
        if head is None:
            return
        state = _RawState(self._replica, head.schema)
        state.apply(Changes(head.cells, {rows.table: [] for rows in self._rows}), head.schema)
        for rows in self._rows:
            state.apply(Changes({}, {rows.table: [*rows.rows]}), head.schema)
        yield head.number, state
        for record in self.records:
            if isinstance(record, Frame) and record.number > head.number:
                if record.kind == "reset":
                    state = _RawState(self._replica, record.schema)
                state.apply(record.changes, record.schema)
                yield record.number, state


class _RawState:
    """Cells and rows in bytes, and which of them this code cannot read."""

    def __init__(self, replica: Replica, schema: Schema) -> None:
        self.cells: dict[str, bytes] = {}
        self.rows: dict[str, dict[bytes, bytes]] = {}
        self.schema = schema
        self.bad: set[tuple[str, bytes]] = set()
        self._replica = replica

    def apply(self, changes: Changes, schema: Schema) -> None:
        replica, self.schema = self._replica, schema
        for name, data in changes.cells.items():
            if name in replica.cells.table_names:
                # In a reset a table comes as one cell, and later frames have its rows.
                self.bad = {part for part in self.bad if part[0] != name}
                try:
                    self.rows[name] = dict(_rows_of(data))
                except UNDECODABLE:
                    self.rows[name] = {}
                    self.bad.add((name, b""))
            else:
                self.cells[name] = data
        for table, rows in changes.tables.items():
            held = self.rows.setdefault(table, {})
            for key, row in rows:
                if row is None:
                    held.pop(key, None)
                    self.bad.discard((table, key))
                else:
                    held[key] = row
                    whole = {} if schema.version == replica.schema.version else self.cells
                    self._note((table, key), Changes(whole, {table: [(key, row)]}))
        if schema.version != replica.schema.version:
            # A migration takes all fields at once.
            if changes.cells:
                self._note(("", b""), Changes(self.cells, {}))
            return
        for name, data in changes.cells.items():
            self._note((name, b""), Changes({name: data}, {}))

    def _note(self, part: tuple[str, bytes], changes: Changes) -> None:
        if self._replica.try_read(self.schema, changes):
            self.bad.add(part)
        else:
            self.bad.discard(part)


def _rows_of(data: bytes) -> list[tuple[bytes, bytes]]:
    rows: dict[Any, Any] = msgspec.msgpack.decode(data)
    return [(msgspec.msgpack.encode(key), msgspec.msgpack.encode(row)) for key, row in rows.items()]


def _after(number: int, records: list[Record]) -> list[Record]:
    """What was recorded after that frame. Two segments have the frames between them both."""
    found: list[Record] = []
    reached, last = False, number
    for record in records:
        if isinstance(record, Frame):
            reached = reached or record.number >= number
            if record.number <= last:
                continue
            last = record.number
        if reached:
            found.append(record)
    return found


def _put_in_doubt(replica: Replica, left_out: list[Record]) -> None:
    """Decisions that were made in what is left out happened in the world, and no state has what came of them."""
    for record in left_out:
        if isinstance(record, Opened) and not record.id.startswith(COMMAND):
            replica.note(record, "")


def _told(left_out: list[Record], why: str) -> str:
    """What is left out, in one sentence."""
    frames = [record for record in left_out if isinstance(record, Frame)]
    if not frames:
        return ""
    ticks = [frame.seq for frame in frames if frame.kind == "tick"]
    names = dict.fromkeys(
        name for frame in frames for name in (*frame.changes.cells, *frame.changes.tables) if name
    )
    applied = sum(1 for frame in frames for key in frame.traffic.applied if not key.startswith(COMMAND))
    applied += sum(done.last - done.first + 1 for frame in frames for done in frame.traffic.feeds)
    decisions = sum(
        1 for record in left_out if isinstance(record, Opened) and not record.id.startswith(COMMAND)
    )
    parts = [
        f"frames {frames[0].number} to {frames[-1].number} are left out, because this code cannot read them"
    ]
    if ticks:
        parts.append(f"they ran ticks {ticks[0]} to {ticks[-1]}")
    if names:
        listed = ", ".join(list(names)[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
        parts.append(f"changed {listed}")
    if applied:
        parts.append(f"applied {applied} event{'s' if applied > 1 else ''}")
    if decisions:
        parts.append(f"made {decisions} decision{'s' if decisions > 1 else ''}, now in doubt")
    return f"{', '.join(parts)} ({why})"
