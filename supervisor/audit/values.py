"""Checks that every written value has the type that the journal declares for it.

Equal digests prove that every process has the same bytes, not that a process can decode them. So each changed field and
row is decoded as its type.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...protocol.frame import Frame, Schema
from ...protocol.journal import Rows, Snapshot
from ...protocol.state.typed_decoder import TypedDecoder
from ...protocol.state.values import decode_types
from .report import MOST, ValuesFound, WrongValue
from .scope import Scope

__all__ = ["ValueAudit"]


class ValueAudit:
    """Decodes every value of the frames and snapshots in the span."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._schema: Schema | None = None
        self._decoder: TypedDecoder | None = None
        self._types = b""
        self._read = 0
        self._untyped = 0
        self._wrong: dict[str, WrongValue] = {}
        """Fields whose newest value does not have the declared type."""
        self._found: list[WrongValue] = []
        self._total = 0

    def snapshot(self, head: Snapshot) -> None:
        """The types of what follows, up to the next snapshot."""
        if (head.schema, head.types) != (self._schema, self._types):
            self._schema, self._types = head.schema, head.types
            self._decoder = TypedDecoder(decode_types(head.types)) if head.types else None
        self._fields(head.cells, head.number, head.seq)

    def rows(self, rows: Rows) -> None:
        """Rows of the snapshot."""
        self._table(rows.table, rows.rows, None, None)

    def frame(self, frame: Frame) -> None:
        """A frame of the span."""
        changes = frame.changes
        if not changes:
            return
        if self._decoder is None or frame.schema != self._schema:
            self._untyped += 1
            return
        self._fields(changes.cells, frame.number, frame.seq)
        for table, rows in changes.tables.items():
            self._table(table, rows, frame.number, frame.seq)

    def found(self) -> ValuesFound:
        return ValuesFound(self._read, self._untyped, self._total, self._found)

    def _fields(self, cells: Mapping[str, bytes], number: int, seq: int) -> None:
        if self._decoder is None:
            return
        for name, data in cells.items():
            self._read += 1
            self._note(name, self._decoder.problem_of_field(name, data), number, seq)

    def _table(
        self,
        table: str,
        rows: list[tuple[bytes, bytes]] | list[tuple[bytes, bytes | None]],
        number: int | None,
        seq: int | None,
    ) -> None:
        if self._decoder is None:
            return
        for key, row in rows:
            self._read += 1
            if problem := self._decoder.problem_of_row(table, key, row):
                self._note(table, problem, number, seq)

    def _note(self, name: str, problem: str, number: int | None, seq: int | None) -> None:
        """Report the first frame of each problem; after a correct value a problem counts as new."""
        known = self._wrong.get(name)
        if not problem:
            self._wrong.pop(name, None)
        elif (known is None or known.problem != problem) and self._scope.open:
            self._wrong[name] = wrong = WrongValue(name or "state", problem, number, seq)
            self._total += 1
            self._scope.breaks(9, f"state field {name or 'state'} was written but cannot be read: {problem}")
            if len(self._found) < MOST:
                self._found.append(wrong)
