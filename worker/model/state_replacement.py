"""Replaces the state, or a part of it, in a turn: for a restore, an import, or a value that an operator sets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Set
from typing import Any, cast

from ...protocol.frame import Changes
from .changes_reader import ChangesReader, Row, StateUnreadable
from .shape import Shape
from .table import Table

__all__ = ["refill", "replacement"]

AnyTable = Table[Any, Any]


def replacement(
    shape: Shape,
    reader: ChangesReader,
    cells: Mapping[str, bytes],
    tables: Mapping[str, list[tuple[bytes, bytes]]],
    source: int | None = None,
    *,
    partial: bool = False,
) -> Callable[[Any], Callable[[], None]]:
    """Read another state; return a function that makes a state hold it, and returns how to undo that.

    The function runs in a turn, whose frame then has what differs. Tables are given whole. With `partial`, what is
    not given stays; otherwise it gets its default. Raises `StateUnreadable` when this code cannot read it.
    """
    rows: dict[str, list[Row]] = {name: [*some] for name, some in tables.items()}
    values, found = reader.changes(Changes(dict(cells), rows), source)
    new = {cell.attr: value for cell, value in values}
    wanted = {field.attr: {key: row for key, _, row in some} for field, _, some in found}
    if not partial and not shape.single:
        new = {**_defaults(shape, reader, new.keys() | wanted.keys(), source), **new}
        wanted = {**{field.attr: {} for field in shape.tables}, **wanted}
    names = {field.attr for field in shape.tables}
    # What comes by rows may be a plain dict here.
    new |= {attr: rows for attr, rows in wanted.items() if attr not in names}
    exchanged = {attr: rows for attr, rows in wanted.items() if attr in names}
    return lambda state: _replace(shape, state, new, exchanged)


def _defaults(shape: Shape, reader: ChangesReader, known: Set[str], source: int | None) -> dict[str, Any]:
    missing = [cell for cell in shape.cells if cell.attr not in known]
    for cell in missing:
        if cell.required:
            raise StateUnreadable(
                cell.attr,
                "it is required and the state has none",
                reader.mend(source, "give it a default or "),
            )
    try:
        fresh = shape.type() if missing else None
    except TypeError:
        # Other fields have no default; those of a record are made one by one.
        needed = {cell.attr: None for cell in shape.cells if cell.required}
        fresh = shape.type(**needed)
    return {cell.attr: getattr(fresh, cell.attr) for cell in missing}


def _replace(
    shape: Shape, state: Any, new: dict[str, Any], tables: dict[str, dict[Any, Any]]
) -> Callable[[], None]:
    if shape.single:
        before = copy.copy(state)
        refill(state, new[""])
        return lambda: refill(state, before)
    old = {attr: getattr(state, attr) for attr in new}
    held = [(getattr(state, attr), rows) for attr, rows in tables.items()]
    saved: list[tuple[AnyTable, dict[Any, Any], dict[Any, bool]]] = [
        (table, dict(table), dict(table.touched)) for table, _ in held
    ]
    for attr, value in new.items():
        setattr(state, attr, value)
    for table, rows in held:
        _exchange(table, rows)

    def undo() -> None:
        for attr, value in old.items():
            setattr(state, attr, value)
        for table, rows, touched in saved:
            _exchange(table, rows)
            table.touched = touched

    return undo


def refill(state: Any, value: Any) -> None:
    """Give a single-cell state the content of `value`; the bot keeps the same object."""
    if isinstance(state, list):
        cast("list[Any]", state)[:] = value
    else:
        state.clear()
        state.update(value)


def _exchange(table: AnyTable, rows: dict[Any, Any]) -> None:
    """Make a table hold these rows in this order, writing no row that stands right already."""
    for key in [key for key in table if key not in rows]:
        del table[key]
    there, wanted = list(table), list(rows)
    same = next(
        (at for at, (one, other) in enumerate(zip(there, wanted, strict=False)) if one != other), len(there)
    )
    for key in there[same:]:
        del table[key]
    for key, row in rows.items():
        if key not in table or table[key] != row:
            table[key] = row
