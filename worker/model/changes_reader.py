"""Reads what a leader collected, with the types of this code. What does not fit is an error that names the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...protocol.frame import Changes
from ...protocol.wire import UNDECODABLE
from .shape import CellField, Shape, TableField
from .table import StateError

__all__ = ["ChangesReader", "Row", "StateUnreadable"]

Row = tuple[bytes, bytes | None]
"""A key and its row as bytes; None for a row that was deleted."""


class StateUnreadable(StateError):
    """A state that this code cannot read; `field` names the part, `problem` what was expected and what was found."""

    def __init__(self, field: str, problem: str, mend: str) -> None:
        super().__init__(f"state field {field!r}: {problem}: {mend}", field)
        self.problem = problem
        self.written_by_bug = False
        """The code that wrote it declares the same types, so it wrote a value of another type than it declares."""

    def as_written_by_bug(self) -> StateUnreadable:
        """The same of a state that this very code wrote: no migration is missing."""
        found = StateUnreadable(
            self.field,
            self.problem,
            "the code that wrote it declares this type too, so a bug wrote a value of another one: deploy code that "
            "declares what is there, as in `float | None`",
        )
        found.written_by_bug = True
        return found


class ChangesReader:
    """Decodes the cells and rows of `shape`. `version` is its schema version, for messages."""

    def __init__(self, shape: Shape, version: int) -> None:
        self._version = version
        self._cells = {cell.name: cell for cell in shape.cells}
        self._tables = {table.name: table for table in shape.tables}

    def of_cell(self, name: str) -> Callable[[bytes], Any] | None:
        """How this code reads the cell of that name, None when it has no such cell."""
        cell = self._cells.get(name)
        return cell.decode if cell is not None else None

    def of_row(self, name: str) -> Callable[[bytes], Any] | None:
        """How this code reads a row of that name, None when it does not read the field by rows."""
        cell = self._cells.get(name)
        field = self._tables.get(name) or (cell.parts if cell is not None else None)
        return field.decode_row if field is not None else None

    def changes(
        self, changes: Changes, source: int | None = None
    ) -> tuple[list[tuple[CellField, Any]], list[tuple[TableField, bool, list[tuple[Any, bool, Any]]]]]:
        """Every change as typed values: cells, and for each table whether it is replaced, and its rows as `(key,
        present, row)`.
        """
        values: list[tuple[CellField, Any]] = []
        tables: list[tuple[TableField, bool, list[tuple[Any, bool, Any]]]] = []
        for name, data in changes.cells.items():
            if cell := self._cells.get(name):
                values.append((cell, self.cell(cell, data, source)))
            elif field := self._tables.get(name):
                tables.append(
                    (field, True, [(k, True, row) for k, row in self._all_rows(field, data, source).items()])
                )
        for name, rows in changes.tables.items():
            field = self._tables.get(name)
            if field is None and (cell := self._cells.get(name)):
                if cell.parts is None:
                    raise StateUnreadable(
                        cell.attr, "the state has a Table here, expected a single value", self.mend(source)
                    )
                field = cell.parts
            if field is not None:
                tables.append((field, False, self._rows(field, rows, source)))
        return values, tables

    def cell(self, cell: CellField, data: bytes, source: int | None) -> Any:
        """The value of one cell."""
        try:
            value = cell.decode(data)
        except UNDECODABLE as problem:
            raise StateUnreadable(cell.attr, _with_field(problem, cell.attr), self.mend(source)) from None
        return value if cell.held is None else cell.held.read(value, data)

    def mend(self, source: int | None, first: str = "", table: str = "") -> str:
        """What to write so that this code reads what schema `source` (None: this one) wrote."""
        here = self._version
        row = f', table="{table}"' if table else ""
        if source is not None and source != here:
            return f"{first}write @migration({source}, {here}{row})"
        return f"{first}raise the schema to {here + 1} and write @migration({here}, {here + 1}{row})"

    def _all_rows(self, field: TableField, data: bytes, source: int | None) -> dict[Any, Any]:
        try:
            return field.decode_all(data)
        except UNDECODABLE as problem:
            raise StateUnreadable(field.attr, _with_field(problem, field.attr), self.mend(source)) from None

    def _rows(self, field: TableField, rows: list[Row], source: int | None) -> list[tuple[Any, bool, Any]]:
        decode_key, decode_row = field.decode_key, field.decode_row
        found: list[tuple[Any, bool, Any]] = []
        key: Any = "?"
        try:
            for name, row in rows:
                key = decode_key(name)
                found.append((key, row is not None, None if row is None else decode_row(row)))
        except UNDECODABLE as problem:
            raise StateUnreadable(
                field.attr,
                f"row {key!r}: {_with_field(problem, 'row')}",
                self.mend(source, table=field.name),
            ) from None
        return found


def _with_field(problem: Exception, name: str) -> str:
    """msgspec's message, with the field's name where it writes `$`."""
    return str(problem).replace("`$", f"`{name}", 1)
