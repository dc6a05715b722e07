"""What is lost of a value when other code reads it and writes it again.

A release reads a state by its own types: a field that it does not have is left out, at any depth, and nothing fails.
So the state is read, written again and compared with what was there: what is missing then is lost.

Fields are named without the keys and indices on the way: `positions.size` is the field `size` of each value in
`positions`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from .path import Path, shown
from .typed_json import ANYTHING, TypeSchema, inside, member_of, to_json

__all__ = ["LostValue", "Typed", "brief", "is_default", "lost_values", "path_text"]

_SHOWN = 60


class Typed(NamedTuple):
    """The type of a value, a part of the schema `whole`. The default one knows nothing."""

    about: TypeSchema = ANYTHING
    whole: TypeSchema = ANYTHING

    def within(self, part: Any) -> Typed:
        return Typed(inside(self.about, self.whole, part), self.whole)

    def of(self, value: Any) -> Typed:
        return Typed(member_of(self.about, self.whole, value), self.whole)


class LostValue(NamedTuple):
    """A value that is missing after it was read and written: its field, its path, the value as JSON."""

    field: str
    path: Path
    value: Any
    default: bool


def lost_values(
    before: Any, after: Any, old: Typed, new: Typed, field: str = "", path: Path = ()
) -> Iterator[LostValue]:
    """What `before` has and `after` lacks: the same value, decoded without types, before and after the new code.

    `old` and `new` are their types. A field that the new type has may be missing: it has its default.
    """
    if before == after and type(before) is type(after):
        return
    old, new = old.of(before), new.of(after)
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _lost_items(
            cast("dict[Any, Any]", before), cast("dict[Any, Any]", after), old, new, field, path
        )
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lost_parts(cast("list[Any]", before), cast("list[Any]", after), old, new, field, path)
    elif isinstance(before, (dict, list)):
        yield _value(field, path, before, old)
    elif type(before) is int and type(after) is float and int(after) != before:
        # A float has not room for it.
        yield _value(field, path, before, Typed())


def _lost_items(
    before: dict[Any, Any], after: dict[Any, Any], old: Typed, new: Typed, field: str, path: Path
) -> Iterator[LostValue]:
    known = new.about.get("properties")
    record = known is not None or "properties" in old.about
    if not record and before.keys() != after.keys() and len(before) == len(after):
        # Keys have another form now, such as a date. Their order is the same.
        after = dict(zip(before, after.values(), strict=True))
    for key, value in before.items():
        name = _below(field, key) if record else field
        if key in after:
            yield from lost_values(value, after[key], old.within(key), new.within(key), name, (*path, key))
        elif known is None or key not in known:
            yield _value(name if record else _below(field, key), (*path, key), value, old.within(key))


def _lost_parts(
    before: list[Any], after: list[Any], old: Typed, new: Typed, field: str, path: Path
) -> Iterator[LostValue]:
    if new.about.get("x-array") or old.about.get("x-array"):
        known, names = new.about.get("properties", {}), list(old.about.get("properties", {}))
        for at, value in enumerate(before):
            name = names[at] if at < len(names) else at
            if at < len(after):
                part = _below(field, name)
                yield from lost_values(value, after[at], old.within(name), _nth(new, at), part, (*path, name))
            elif at >= len(known):
                yield _value(_below(field, name), (*path, name), value, old.within(name))
        return
    if sorted(map(repr, before)) == sorted(map(repr, after)):
        # A set, which has no order.
        return
    for at, (one, other) in enumerate(zip(before, after, strict=False)):
        yield from lost_values(one, other, old.within(at), new.within(at), field, (*path, at))
    for at in range(len(after), len(before)):
        yield _value(field, (*path, at), before[at], Typed())


def _nth(new: Typed, at: int) -> Typed:
    names = list(new.about.get("properties", {}))
    return new.within(names[at]) if at < len(names) else Typed()


def _below(field: str, name: Any) -> str:
    return f"{field}.{name}" if field else str(name)


def _value(field: str, path: Path, value: Any, old: Typed) -> LostValue:
    return LostValue(field, path, to_json(value, old.about, old.whole), is_default(value, old))


def is_default(value: Any, old: Typed) -> bool:
    """Whether a value holds nothing: it is its type's default, or, where the type says none, zero or empty."""
    about = old.about
    if "const" in about:
        return True
    if "default" in about:
        default = about["default"]
        return value == default or to_json(value) == default or to_json(value, about, old.whole) == default
    return value is None or (isinstance(value, (bool, int, float, str, bytes, list, dict)) and not value)


def brief(value: Any) -> str:
    """A JSON value as text of bounded length."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def path_text(path: Path) -> str:
    """A path as text, also when a key is not JSON."""
    return shown(tuple(part if isinstance(part, (str, int, float)) else to_json(part) for part in path))
