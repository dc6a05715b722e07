"""What differs between two states, field by field, also where their types differ.

It compares what is written, by the types that are said, and so it is the same for two points of a journal and for a
state before and after a migration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import msgspec

from .path import Path, shown
from .typed_json import TypeSchema, key_text, looked_up
from .values import StateValues

__all__ = ["FieldDiff", "RowsDiff", "StateDiff", "ValueChange", "expanded", "state_diff", "type_words"]


class ValueChange(msgspec.Struct, frozen=True):
    """A value that differs, by its path. `there` says on which sides it is: `before`, `after` or `both`."""

    path: str
    there: Literal["before", "after", "both"]
    before: Any = None
    after: Any = None


class FieldDiff(msgspec.Struct, frozen=True):
    """A field of the state that one side lacks, or that has another type. `value` is the dropped or the added one."""

    name: str
    kind: Literal["dropped", "added", "retyped"]
    before: str
    """Its type before, in words; "" where it was not there."""
    after: str
    value: Any = None
    default: bool = False
    """A dropped value is the field's default: nothing is lost with it."""
    rows: int | None = None
    """How many rows it has, when it is a table. Its value is then left out."""


class RowsDiff(msgspec.Struct, frozen=True):
    """A table on both sides: how many rows it has, and how many differ."""

    name: str
    before: int
    after: int
    added: int
    removed: int
    changed: int


class StateDiff(msgspec.Struct, frozen=True):
    """What differs. `changes` are the first ones of `total`."""

    fields: list[FieldDiff]
    tables: list[RowsDiff]
    changes: list[ValueChange]
    total: int

    @property
    def same(self) -> bool:
        """Nothing differs."""
        return not self.fields and not self.total


def state_diff(before: StateValues, after: StateValues, limit: int = 100) -> StateDiff:
    """What differs between two states; of single values at most `limit` are listed, and all are counted."""
    fields: list[FieldDiff] = []
    tables: list[RowsDiff] = []
    changes = _Changes(limit)
    old, new = before.names, after.names
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new or name not in old:
            fields.append(_one_sided(before if name in old else after, name, dropped=name in old))
            continue
        types = type_words(before.about(name), before.types), type_words(after.about(name), after.types)
        known = bool(before.types and after.types)
        if known and expanded(before.about(name), before.types) != expanded(after.about(name), after.types):
            fields.append(FieldDiff(name, "retyped", *types))
        if name in before.tables and name in after.tables:
            found = _rows(before, after, name, changes)
            if found.added or found.removed or found.changed:
                tables.append(found)
        elif before.cells.get(name) != after.cells.get(name) or before.types != after.types:
            changes.compare((name,) if name else (), before.field(name), after.field(name))
    return StateDiff(fields, tables, changes.listed, changes.total)


def type_words(about: TypeSchema, whole: TypeSchema) -> str:
    """A type in a few words: `Position`, `list of float`, `table of str to Candle`."""
    title = about.get("title") or looked_up(about, whole).get("title")
    about = looked_up(about, whole)
    if title:
        return str(title)
    if "anyOf" in about:
        return " | ".join(type_words(item, whole) for item in cast("list[TypeSchema]", about["anyOf"]))
    if "enum" in about:
        return " | ".join(map(repr, about["enum"]))
    kind = about.get("format") or ("bytes" if "contentEncoding" in about else about.get("type"))
    match kind:
        case "object":
            keys = type_words(cast("TypeSchema", about.get("propertyNames", {"type": "string"})), whole)
            word = "table" if about.get("x-table") else "dict"
            return f"{word} of {keys} to {type_words(about.get('additionalProperties', {}), whole)}"
        case "array" if "prefixItems" in about:
            return f"({', '.join(type_words(item, whole) for item in about['prefixItems'])})"
        case "array":
            return f"list of {type_words(about.get('items', {}), whole)}"
        case _:
            return _WORDS.get(str(kind), str(kind or "anything"))


_WORDS = {"string": "str", "number": "float", "integer": "int", "boolean": "bool", "null": "None"}


def _one_sided(side: StateValues, name: str, *, dropped: bool) -> FieldDiff:
    words = type_words(side.about(name), side.types)
    table = side.tables.get(name)
    value = None if table is not None else side.field(name)
    default = not table if table is not None else value == side.about(name).get("default", _NO_DEFAULT)
    return FieldDiff(
        name,
        "dropped" if dropped else "added",
        words if dropped else "",
        "" if dropped else words,
        value,
        default,
        len(table) if table is not None else None,
    )


_NO_DEFAULT: Any = object()


def _rows(before: StateValues, after: StateValues, name: str, changes: _Changes) -> RowsDiff:
    old, new = before.tables[name], after.tables[name]
    retyped = before.about(name) != after.about(name) or before.types != after.types
    added = removed = changed = 0
    for key, row in old.items():
        other = new.get(key)
        if other is None:
            removed += 1
            changes.add(
                lambda key=key: (name, before.key(name, key)), lambda row=row: before.row(name, row), None
            )
        elif row != other:
            listed = changes.full
            if listed and not retyped:
                # It is counted as one, whatever differs in it: there is no room to list it.
                changes.total += 1
                changed += 1
                continue
            count = changes.total
            changes.compare((name, before.key(name, key)), before.row(name, row), after.row(name, other))
            changed += changes.total > count
    for key, row in new.items():
        if key not in old:
            added += 1
            changes.add(
                lambda key=key: (name, after.key(name, key)), None, lambda row=row: after.row(name, row)
            )
    return RowsDiff(name, len(old), len(new), added, removed, changed)


class _Changes:
    def __init__(self, limit: int) -> None:
        self.listed: list[ValueChange] = []
        self.total = 0
        self._limit = limit

    @property
    def full(self) -> bool:
        return len(self.listed) >= self._limit

    def add(
        self, path: Callable[[], Path], before: Callable[[], Any] | None, after: Callable[[], Any] | None
    ) -> None:
        """A value that is on one side only; each argument is a function, or None for the side that lacks it."""
        self.total += 1
        if not self.full:
            there = "after" if before is None else "before"
            old, new = before() if before is not None else None, after() if after is not None else None
            self.listed.append(ValueChange(shown(path()), there, old, new))

    def compare(self, path: Path, before: Any, after: Any) -> None:
        """Compare two values, down to where they differ."""
        for where, there, one, other in _differing(path, before, after):
            self.total += 1
            if not self.full:
                self.listed.append(ValueChange(shown(where), there, one, other))


_Difference = tuple[Path, Literal["before", "after", "both"], Any, Any]


def _differing(path: Path, before: Any, after: Any) -> Iterator[_Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        if old.keys() == new.keys() == {"$map"}:
            old = {key_text(key): value for key, value in old["$map"]}
            new = {key_text(key): value for key, value in new["$map"]}
        for name in [*old, *(name for name in new if name not in old)]:
            if name not in new:
                yield (*path, name), "before", old[name], None
            elif name not in old:
                yield (*path, name), "after", None, new[name]
            else:
                yield from _differing((*path, name), old[name], new[name])
    elif isinstance(before, list) and isinstance(after, list):
        ones, others = cast("list[Any]", before), cast("list[Any]", after)
        for at in range(max(len(ones), len(others))):
            if at >= len(others):
                yield (*path, at), "before", ones[at], None
            elif at >= len(ones):
                yield (*path, at), "after", None, others[at]
            else:
                yield from _differing((*path, at), ones[at], others[at])
    elif not _equal(before, after):
        yield path, "both", before, after


def _equal(before: Any, after: Any) -> bool:
    """Whether two values without parts are the same one: 1, 1.0 and true are not."""
    return before == after and type(cast("object", before)) is type(cast("object", after))


def expanded(about: Any, whole: TypeSchema, above: tuple[str, ...] = ()) -> Any:
    """A type with all that it refers to, and without what does not matter to its bytes."""
    if isinstance(about, list):
        return [expanded(item, whole, above) for item in cast("list[Any]", about)]
    if not isinstance(about, dict):
        return about
    fields = cast("dict[str, Any]", about)
    if name := fields.get("$ref"):
        if name in above:
            return {"$ref": above[::-1].index(name)}
        return expanded(dict(looked_up(fields, whole)), whole, (*above, name))
    found: dict[str, Any] = {}
    for key, one in fields.items():
        if key == "properties":
            properties = cast("dict[str, Any]", one)
            found[key] = {name: expanded(about, whole, above) for name, about in properties.items()}
        elif key not in ("title", "default", "$defs"):
            found[key] = expanded(one, whole, above)
    return found
