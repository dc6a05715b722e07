"""What an operator changes in the state of a live bot: all of it, or the value at a path.

An edit is made at the beginning of a turn, so it is in that turn's frame like any change of the bot's own: followers,
the journal and a rollback have it too. It is read with the bot's own types, and through its migrations where it is of
another schema; what does not fit changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.state import path as paths
from ...protocol.state.typed_json import (
    ANYTHING,
    TypeSchema,
    from_json,
    inside,
    is_integer,
    key_text,
    to_json,
)
from ...protocol.state.values import StagedState, StateValues, decode_types
from ...protocol.wire import MAX_MESSAGE, NOT_ENCODABLE, UNDECODABLE, reason
from ..model.cells import StateUnreadable
from ..model.migration import Translator
from ..model.replica import Replica
from ..model.state_replacement import replacement

__all__ = ["StateEdit", "StateEditError", "restore_edit", "set_edit"]

Undo = Callable[[], None]
StateEdit = Callable[[], tuple[dict[str, Any], Undo]]
"""Makes the change; returns what the operator is told, and how to undo it. Raises `NeverblinkError`."""

_LARGEST = MAX_MESSAGE // 2
"""What an edit may change in one turn, bytes: all of it goes into one frame, with what the bot does in the turn."""


class StateEditError(NeverblinkError):
    """A state, or a value, that cannot be put in the place of the present one."""


def restore_edit(replica: Replica, args: dict[str, Any]) -> StateEdit:
    """Have the state, and where they are given the timers, be what the file `args["file"]` holds."""
    return lambda: _restore(replica, Path(str(args.get("file", ""))))


def set_edit(replica: Replica, args: dict[str, Any]) -> StateEdit:
    """Have the value at `args["path"]` be `args["value"]`."""
    return lambda: _set(replica, str(args.get("path", "")), args.get("value"))


def _restore(replica: Replica, file: Path) -> tuple[dict[str, Any], Undo]:
    try:
        staged = msgspec.msgpack.decode(file.read_bytes(), type=StagedState)
    except OSError as problem:
        raise StateEditError(
            f"{file} cannot be read ({problem.strerror}): ask for the restore again"
        ) from None
    except UNDECODABLE as problem:
        raise StateEditError(f"{file} is damaged ({reason(problem)}): ask for the restore again") from None
    cells, tables, source = staged.cells, staged.tables, staged.schema.version
    if source != replica.schema.version and not staged.partial:
        translator = Translator(replica.migrations, staged.schema, replica.schema)
        cells = translator.load(cells)
        tables = {name: translator.rows(name, rows) for name, rows in tables.items()}
    undo_state = _replace(replica, cells, tables, source, partial=staged.partial)
    timers = replica.timers.all()
    if staged.timers is not None:
        replica.timers.become(staged.timers)

    def undo() -> None:
        undo_state()
        replica.timers.become(timers)

    _check_size(replica, undo)
    return {"frame": replica.number}, undo


def _replace(
    replica: Replica,
    cells: dict[str, bytes],
    tables: dict[str, list[tuple[bytes, bytes]]],
    source: int,
    *,
    partial: bool,
) -> Undo:
    try:
        return replacement(replica.cells.shape, replica.cells.reader, cells, tables, source, partial=partial)(
            replica.state
        )
    except StateUnreadable as problem:
        if source != replica.schema.version:
            raise
        said = reason(ValueError(problem.problem))
        raise StateEditError(
            f"state field {problem.field!r} of the running code does not take it: {said}"
        ) from None


def _set(replica: Replica, text: str, new: Any) -> tuple[dict[str, Any], Undo]:
    cells = replica.cells
    whole = decode_types(cells.types)
    path = paths.parse(text)
    values = StateValues(replica.schema, whole, cells.root(replica.state), [])
    name = "" if values.single else key_text(path[0]) if path else ""
    if not values.single and not path:
        raise StateEditError(
            "a path is missing: name the field, as in positions.BTC.size; `state import` sets all"
        )
    if name in cells.table_names:
        return _set_row(replica, path, new, whole)
    before = values.look(path[:1] if not values.single else ())
    rest = path if values.single else path[1:]
    about = values.about(name)
    try:
        old: Any = values.look(path)
    except paths.BadPath:
        # A new key; `put` says where there can be none.
        old = None
    wanted = paths.put(before, rest, new, about, whole, path[: len(path) - len(rest)])
    data = _encoded(wanted, about, whole, path)
    undo = _replace(replica, {name: data}, {}, replica.schema.version, partial=True)
    _check_size(replica, undo)
    return {"frame": replica.number, "path": paths.shown(path), "old": old, "new": new}, undo


def _set_row(replica: Replica, path: paths.Path, new: Any, whole: TypeSchema) -> tuple[dict[str, Any], Undo]:
    name = key_text(path[0])
    if len(path) < 2:
        raise StateEditError(
            f"{name} is a table: name the row, as in {name}.BTC; `state import` replaces a table"
        )
    about = inside(whole, whole, name)
    table, field = replica.cells.table(replica.state, name)
    keys = cast("TypeSchema", about.get("propertyNames", ANYTHING))
    key = _key(field.decode_key, table, path, keys, whole)
    rows, there = inside(about, whole, ""), key in table
    before = to_json(msgspec.msgpack.decode(replica.cells.encode(table[key])), rows, whole) if there else None
    if not there and len(path) > 2:
        raise paths.no_part(path[:1], path[1], [to_json(item) for item in table])
    wanted = paths.put(before, path[2:], new, rows, whole, path[:2])
    data = _encoded(wanted, rows, whole, path)
    old_row, touched = table.get(key), dict(table.touched)
    try:
        table[key] = field.decode_row(data)
    except UNDECODABLE as problem:
        raise StateEditError(f"{paths.shown(path)}: {reason(problem)}") from None

    def undo() -> None:
        if there:
            table[key] = old_row
        else:
            del table[key]
        table.touched = touched

    old: Any = before
    for at, part in enumerate(path[2:] if there else ()):
        old = paths.part_of(old, part, path[: 2 + at])
    return {"frame": replica.number, "path": paths.shown(path), "old": old, "new": new}, undo


def _key(
    decode: Callable[[bytes], Any],
    table: dict[Any, Any],
    path: paths.Path,
    about: TypeSchema,
    whole: TypeSchema,
) -> Any:
    """The row's key that a path names, in the table's own type."""
    part, why = path[1], "it is not a key of this table"
    found: list[Any] = []
    said = [part, *([int(part)] if isinstance(part, str) and is_integer(part) else ())]
    for item in said:
        try:
            found.append(decode(msgspec.msgpack.encode(from_json(item, about, whole))))
        except (*UNDECODABLE, *NOT_ENCODABLE, NeverblinkError) as problem:
            why = reason(problem) if not isinstance(problem, NeverblinkError) else problem.message
    if not found:
        raise StateEditError(f"{paths.shown(path[:2])}: {why}")
    return next((key for key in found if key in table), found[0])


def _encoded(value: Any, about: TypeSchema, whole: TypeSchema, path: paths.Path) -> bytes:
    try:
        return msgspec.msgpack.encode(from_json(value, about, whole, paths.shown(path[:1])))
    except NOT_ENCODABLE as problem:
        raise StateEditError(f"{paths.shown(path)}: {problem}") from None


def _check_size(replica: Replica, undo: Undo) -> None:
    """Undo and refuse an edit that no frame could carry."""
    size = replica.cells.size_of_changes(replica.state)
    if size > _LARGEST:
        undo()
        raise StateEditError(
            f"this changes {size} bytes of the state, at most {_LARGEST} can be changed at once: restore a later "
            "point, or stop the bot and start it from a backup"
        )
