"""What this code would lose of a state that another release wrote.

Each cell and row is decoded with this code's types and encoded again, and what is missing then is lost: one rule for
every depth. A cell whose bytes come back unchanged is not looked into. Migrations run before: what one leaves out
without having read it is lost too, unless it says so (`drops`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ...protocol.frame import Changes
from ...protocol.state.diff import expanded, type_words
from ...protocol.state.loss import LostValue, Typed, brief, is_default, lost_values, path_text
from ...protocol.state.typed_json import TypeSchema, inside, to_json
from ...protocol.state.values import decode_types
from ...protocol.state_changes import LostField, NewField, RetypedField, StateChanges
from .cells import Cells
from .migration import OmittedField

__all__ = ["ReleaseComparison"]

_FIELDS = 1000
"""At most so many fields are listed: names in a dict that was a struct are without bound."""


class ReleaseComparison:
    """Compares a state in another schema with what `cells` read of it, as it comes: copy, rows and frames.

    `types` is the JSON Schema that the other release wrote, empty where it is not known; `names` and `rows` are the
    fields and tables of its state, before any migration; `drops` what the migrations say they drop.
    """

    def __init__(
        self,
        cells: Cells,
        types: bytes = b"",
        names: Iterable[str] | None = None,
        rows: Mapping[str, int] | None = None,
        drops: frozenset[str] = frozenset(),
    ) -> None:
        old, new = decode_types(types), decode_types(cells.types)
        self._cells = cells
        self._old = Typed(old, old)
        self._new = Typed(new, new)
        self._names = None if names is None else frozenset(names)
        self._rows = dict(rows or {})
        self._drops = drops
        self._filled: set[str] = set()
        self._of_cell: dict[str, list[_Found]] = {}
        self._of_rows: dict[tuple[str, str], _Found] = {}
        self._left_out: dict[str, _Found] = {}

    def note(self, changes: Changes) -> None:
        """Note cells and rows, in this code's schema, that were just read."""
        for name, data in changes.cells.items():
            self._filled.add(name)
            if (read := self._cells.reader.of_cell(name)) is not None:
                self._of_cell[name] = _grouped(self._lost(data, read, self._typed(name), name))
            elif (row := self._cells.reader.of_row(name)) is not None:
                for key, value in msgspec.msgpack.decode(data).items():
                    self._note_row(name, key, msgspec.msgpack.encode(value), row)
            else:
                self._of_cell[name] = _grouped([self._dropped(name, data)])
        for name, rows in changes.tables.items():
            self._filled.add(name)
            reader = self._cells.reader.of_row(name)
            for key, row in rows:
                if row is not None:
                    self._note_row(name, msgspec.msgpack.decode(key), row, reader)

    def note_left_out(self, left_out: Iterable[OmittedField]) -> None:
        """Note what migrations leave out without having read it."""
        for one in left_out:
            field = f"{one.table}.{one.name}" if one.table else one.name
            old = self._old_field(one.name) if not one.table else self._old_row(one.table).within(one.name)
            value = to_json(one.value, old.about, old.whole)
            path = (one.table, one.key, one.name) if one.table else (one.name,)
            lost = LostValue(field, path, value, is_default(one.value, old))
            if not one.table:
                # Of the root there is one value, the newest.
                self._left_out.pop(field, None)
            self._left_out.setdefault(field, _Found(one.step)).add(lost)

    def result(self) -> StateChanges:
        """What was found so far."""
        dropped: list[LostField] = []
        together = {
            found.first.field: found
            for found in (
                *self._left_out.values(),
                *(one for some in self._of_cell.values() for one in some),
                *self._of_rows.values(),
            )
        }
        for field, found in list(together.items())[:_FIELDS]:
            table = self._rows.get(field) if field not in self._new_names else None
            first = found.first
            dropped.append(
                LostField(
                    field,
                    path_text(first.path),
                    brief(first.value),
                    found.count,
                    first.default and not table,
                    table,
                    found.by,
                    any(field == name or field.startswith(f"{name}.") for name in self._drops),
                )
            )
        for name, count in self._rows.items():
            # A table without rows has sent nothing.
            if name not in self._new_names and name not in together and name in self._filled:
                dropped.append(LostField(name, name, "", 1, not count, count))
        return StateChanges(tuple(dropped), self._added(), self._retyped(), self._rows)

    # --- parts ------------------------------------------------------------------------------------------------------

    @property
    def _new_names(self) -> frozenset[str]:
        return self._cells.table_names.union(self._cells.names)

    def _typed(self, name: str) -> tuple[Typed, Typed]:
        return self._old_field(name), self._new.within(name) if name else self._new

    def _old_field(self, name: str) -> Typed:
        return self._old.within(name) if name else self._old

    def _old_row(self, table: str) -> Typed:
        return self._old.within(table).within("")

    def _lost(
        self, data: bytes, read: Callable[[bytes], Any], types: tuple[Typed, Typed], name: str, *key: Any
    ) -> list[LostValue]:
        again = self._cells.encode(read(data))
        if again == data:
            return []
        before, after = msgspec.msgpack.decode(data), msgspec.msgpack.decode(again)
        path = (name, *key) if name else key
        return list(lost_values(before, after, *types, name, path))

    def _dropped(self, name: str, data: bytes) -> LostValue:
        old = self._old_field(name)
        value = msgspec.msgpack.decode(data)
        return LostValue(name, (name,), to_json(value, old.about, old.whole), is_default(value, old))

    def _note_row(self, table: str, key: Any, row: bytes, read: Callable[[bytes], Any] | None) -> None:
        if read is None:
            old = self._old_row(table)
            shown = to_json(msgspec.msgpack.decode(row), old.about, old.whole)
            lost = [LostValue(table, (table, key), shown, default=False)]
        else:
            types = self._old_row(table), self._new.within(table).within("")
            lost = self._lost(row, read, types, table, key)
        for one in lost:
            self._of_rows.setdefault((table, one.field), _Found()).add(one)

    def _added(self) -> tuple[NewField, ...]:
        if self._names is None:
            return ()
        properties: dict[str, TypeSchema] = dict(self._new.about.get("properties", {}))
        return tuple(
            NewField(
                name,
                type_words(about, self._new.whole),
                brief(about["default"]) if "default" in about and name not in self._filled else "",
                "migration" if name in self._filled else "",
            )
            for name, about in properties.items()
            if name in self._new_names and name not in self._names
        )

    def _retyped(self) -> tuple[RetypedField, ...]:
        found: list[RetypedField] = []
        for name in dict(self._old.about.get("properties", {})):
            if name not in self._new_names:
                continue
            old, new = (
                inside(self._old.about, self._old.whole, name),
                inside(self._new.about, self._new.whole, name),
            )
            if expanded(old, self._old.whole) == expanded(new, self._new.whole):
                continue
            before, after = type_words(old, self._old.whole), type_words(new, self._new.whole)
            found.append(
                RetypedField(name, before, after if after != before else f"{after} with other fields")
            )
        return tuple(found)


class _Found:
    """Lost values of one field: the first that is not its default, and how many such there are."""

    def __init__(self, by: str = "") -> None:
        self.by = by
        self.count = 0
        self.first = LostValue("", (), None, default=True)

    def add(self, lost: LostValue) -> None:
        if lost.default and not self.first.default:
            return
        if not self.count or (self.first.default and not lost.default):
            self.first, self.count = lost, 0
        self.count += 1


def _grouped(lost: Iterable[LostValue]) -> list[_Found]:
    fields: dict[str, _Found] = {}
    for one in lost:
        fields.setdefault(one.field, _Found()).add(one)
    return list(fields.values())
