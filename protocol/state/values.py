"""A state's values as the stream has them, with the types that the journal says: no bot code is needed to read them."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from ..frame import Armed, Changes, Schema
from ..wire import NOT_ENCODABLE, UNDECODABLE
from .path import Path, no_part, part_of
from .typed_json import ANYTHING, TypeSchema, from_json, inside, is_integer, key_text, to_json

__all__ = ["StagedState", "StateValues", "decode_types"]


class StagedState(msgspec.Struct, frozen=True):
    """A state on its way into a live bot: in the file that the supervisor writes and the leader reads."""

    schema: Schema
    cells: dict[str, bytes]
    tables: dict[str, list[tuple[bytes, bytes]]]
    timers: dict[str, Armed] | None = None
    """The timers to be armed instead of those there are; None: they stay."""
    partial: bool = False
    """Fields and tables that are not in here stay as they are; otherwise they get their defaults."""


class StateValues:
    """The cells and tables of a state in one schema. `types` is empty where the journal does not say them."""

    def __init__(self, schema: Schema, types: TypeSchema, cells: dict[str, bytes], tables: list[str]) -> None:
        self.schema = schema
        self.types = types
        self.cells = dict(cells)
        self.tables: dict[str, dict[bytes, bytes]] = {name: {} for name in tables}

    @property
    def single(self) -> bool:
        """The state is one value, and not a record of fields."""
        return "" in self.cells

    @property
    def names(self) -> list[str]:
        """The fields, in the order of the type where it is known."""
        there = [*self.cells, *self.tables]
        return (
            sorted(there, key=list(self.types.get("properties", {})).index) if self._ordered(there) else there
        )

    def about(self, name: str) -> TypeSchema:
        """The schema of a field."""
        return self.types if name == "" else inside(self.types, self.types, name)

    def add_rows(self, table: str, rows: list[tuple[bytes, bytes]]) -> None:
        """Take in rows of a snapshot."""
        self.tables.setdefault(table, {}).update(rows)

    def apply(self, changes: Changes) -> None:
        """Take in what a frame changed."""
        for name, data in changes.cells.items():
            if name in self.tables:
                rows = cast("dict[Any, Any]", msgspec.msgpack.decode(data))
                encode = msgspec.msgpack.encode
                self.tables[name] = {encode(key): encode(row) for key, row in rows.items()}
            else:
                self.cells[name] = data
        for name, some in changes.tables.items():
            table = self.tables.setdefault(name, {})
            for key, row in some:
                if row is None:
                    table.pop(key, None)
                else:
                    table[key] = row

    def field(self, name: str) -> Any:
        """A field as JSON; a table with all of its rows."""
        if name in self.tables:
            return self._table(name)
        return to_json(_decoded(self.cells[name]), self.about(name), self.types)

    def rows(self, table: str, offset: int, limit: int) -> list[list[Any]]:
        """Some rows of a table in their order, as JSON: key and row."""
        found = list(self.tables[table].items())[offset : offset + limit]
        return [[self.key(table, key), self.row(table, row)] for key, row in found]

    def key(self, table: str, key: bytes) -> Any:
        """A table's key as JSON."""
        about = cast("TypeSchema", self.about(table).get("propertyNames", ANYTHING))
        return to_json(_decoded(key), about, self.types)

    def row(self, table: str, row: bytes) -> Any:
        """A row as JSON."""
        return to_json(_decoded(row), inside(self.about(table), self.types, ""), self.types)

    def find_row(self, table: str, part: Any) -> bytes:
        """The key, in bytes, of the row that a part of a path names. Raises `BadPath`."""
        rows = self.tables[table]
        about = cast("TypeSchema", self.about(table).get("propertyNames", ANYTHING))
        for said in (part, *([int(part)] if isinstance(part, str) and is_integer(part) else ())):
            try:
                key = msgspec.msgpack.encode(from_json(said, about, self.types))
            except NOT_ENCODABLE:
                continue
            if key in rows:
                return key
        for key in rows:
            # A datetime or a Decimal has several forms in bytes.
            if key_text(self.key(table, key)) == key_text(part):
                return key
        raise no_part((table,), part, (self.key(table, key) for key in list(rows)[:_LOOKED_AT]))

    def look(self, path: Path) -> Any:
        """The value at a path as JSON. Raises `BadPath`."""
        if not path:
            return self.field("") if self.single else {name: self.field(name) for name in self.names}
        if self.single:
            value, where, rest = self.field(""), (), path
        else:
            name = key_text(path[0])
            if name not in self.cells and name not in self.tables:
                raise no_part((), path[0], self.names)
            if name in self.tables and len(path) > 1:
                value = self.row(name, self.tables[name][self.find_row(name, path[1])])
                where, rest = path[:2], path[2:]
            else:
                value, where, rest = self.field(name), path[:1], path[1:]
        for part in rest:
            value = part_of(value, part, where)
            where = (*where, part)
        return value

    def staged(self, timers: dict[str, Armed] | None = None) -> StagedState:
        """All of it, ready to be restored."""
        return StagedState(
            self.schema, self.cells, {name: list(rows.items()) for name, rows in self.tables.items()}, timers
        )

    def _table(self, name: str) -> Any:
        rows = self.rows(name, 0, len(self.tables[name]))
        if self.about(name).get("propertyNames", {}).get("type") == "integer":
            return {str(key): row for key, row in rows}
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in rows):
            return dict(cast("list[tuple[str, Any]]", rows))
        return {"$map": rows}

    def _ordered(self, names: list[str]) -> bool:
        return set(names) <= set(self.types.get("properties", {}))


_LOOKED_AT = 10_000


def decode_types(data: bytes) -> TypeSchema:
    """The types in a snapshot, `ANYTHING` where it says none."""
    try:
        found = msgspec.json.decode(data) if data else ANYTHING
    except UNDECODABLE:
        return ANYTHING
    return cast("TypeSchema", found) if isinstance(found, dict) else ANYTHING


def _decoded(data: bytes) -> Any:
    return msgspec.msgpack.decode(data)
