"""Paths into a state: `positions.BTC.size`, `levels[0]`, `armed["a.b"]`, `fills[[17, "buy"]]`.

A part is a name, or in brackets JSON: an index, a quoted name, or a key that is not text. Values are in their JSON form
(see `typed_json`). A path that leads nowhere is an error that names the part and what is there instead.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, cast

from ..errors import NeverblinkError
from .typed_json import TypeSchema, inside, is_scalar, key_text, looked_up

__all__ = ["BadPath", "Path", "no_part", "parse", "part_of", "put", "shown"]

Path = tuple[Any, ...]
"""The parts, outermost first: names are text, indices integers, other keys what their JSON is."""

_NAME = re.compile(r"[^.\[\]\"']+")
_MOST_NAMES = 8
_LONGEST_SHOWN = 200


class BadPath(NeverblinkError):
    """A path that is not written as one, or leads to nothing."""


def parse(text: str) -> Path:
    """The parts of a path; none for "". Raises `BadPath`."""
    parts: list[Any] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            part, at = _bracket(text, at + 1)
        else:
            if text[at] == ".":
                if not parts or at + 1 == len(text):
                    raise _bad(text, at, "a name is missing")
                at += 1
            if text[at] in "\"'":
                part, at = _quoted(text, at)
            elif found := _NAME.match(text, at):
                part, at = found[0], found.end()
            else:
                raise _bad(text, at, "a name is missing")
        parts.append(part)
        if at < len(text) and text[at] not in ".[":
            raise _bad(text, at, "expected . or [ before the next part")
    return tuple(parts)


def shown(path: Path) -> str:
    """The path as text, which `parse` takes back."""
    text = ""
    for part in path:
        if isinstance(part, str) and _NAME.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part, ensure_ascii=False)}]"
    return text


def part_of(value: Any, part: Any, where: Path = ()) -> Any:
    """The part of a value that this part of a path names; `where` leads to the value. Raises `BadPath`."""
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return items[_index(items, part, where)]
    if isinstance(value, dict) and not is_scalar(value):
        fields = cast("dict[str, Any]", value)
        if fields.keys() == {"$map"}:
            pairs = cast("list[list[Any]]", fields["$map"])
            for key, one in pairs:
                if key == part or key_text(key) == key_text(part):
                    return one
            raise no_part(where, part, (key for key, _ in pairs))
        if key_text(part) in fields:
            return fields[key_text(part)]
        raise no_part(where, part, fields)
    raise BadPath(
        f"{shown(where)} is {json.dumps(value)}, which has no parts: there is no {shown((*where, part))}"
    )


def put(value: Any, path: Path, new: Any, about: TypeSchema, whole: TypeSchema, where: Path = ()) -> Any:
    """`value` with `new` at `path` in it, as another object. Raises `BadPath`.

    A map gets a new key; a struct does not get a field that its schema does not have.
    """
    if not path:
        return new
    part, rest = path[0], path[1:]
    about = _of_object(about, whole)
    below = inside(about, whole, part)
    if isinstance(value, list):
        items = list(cast("list[Any]", value))
        at = _index(items, part, where)
        items[at] = put(items[at], rest, new, below, whole, (*where, part))
        return items
    if not isinstance(value, dict) or is_scalar(value):
        raise BadPath(f"{shown(where)} is {json.dumps(value)}, which has no parts to set")
    fields = cast("dict[str, Any]", value)
    if fields.keys() == {"$map"}:
        pairs = [list(pair) for pair in cast("list[list[Any]]", fields["$map"])]
        pair = next((pair for pair in pairs if key_text(pair[0]) == key_text(part)), None)
        if pair is None:
            if rest:
                raise no_part(where, part, (key for key, _ in pairs))
            return {"$map": [*pairs, [part, new]]}
        pair[1] = put(pair[1], rest, new, below, whole, (*where, part))
        return {"$map": pairs}
    name = key_text(part)
    if name not in fields and (rest or ("properties" in about and name not in about["properties"])):
        raise no_part(where, part, fields)
    return {**fields, name: put(fields.get(name), rest, new, below, whole, (*where, part))}


def no_part(where: Path, part: Any, known: Iterable[Any]) -> BadPath:
    """The error for a part that is not there, with the one that was probably meant."""
    parts = {key_text(one): one for one in known}
    names = list(parts)
    near = difflib.get_close_matches(key_text(part), names, 1)
    inside_of = f" in {shown(where)}" if where else ""
    if near:
        return BadPath(
            f"there is no {shown((part,))}{inside_of}: did you mean {shown((*where, parts[near[0]]))}?"
        )
    some = ", ".join(names[:_MOST_NAMES]) + (
        f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else ""
    )
    return BadPath(
        f"there is no {shown((part,))}{inside_of}: " + (f"it has {some}" if names else "it is empty")
    )


def _of_object(about: TypeSchema, whole: TypeSchema) -> TypeSchema:
    """The schema itself, or of an `X | None` that of X."""
    about = looked_up(about, whole)
    members = [looked_up(item, whole) for item in cast("list[TypeSchema]", about.get("anyOf", []))]
    parts = [
        member
        for member in members
        if "properties" in member or "additionalProperties" in member or "items" in member
    ]
    return parts[0] if len(parts) == 1 else about


def _index(items: list[Any], part: Any, where: Path) -> int:
    try:
        at = int(part)
    except (TypeError, ValueError):
        at = len(items)
    if isinstance(part, float | bool) or not -len(items) <= at < len(items):
        length = f"{len(items)} item{'' if len(items) == 1 else 's'}"
        raise BadPath(f"{shown(where) or 'it'} is a list of {length}: there is no {shown((*where, part))}")
    return at


def _bracket(text: str, at: int) -> tuple[Any, int]:
    if text[at : at + 1] == "'":
        part, end = _quoted(text, at)
    else:
        try:
            part, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            raise _bad(text, at, 'expected an index, or a name in quotes as in ["a.b"]') from None
    if text[end : end + 1] != "]":
        raise _bad(text, end, "expected ]")
    return part, end + 1


def _quoted(text: str, at: int) -> tuple[str, int]:
    if text[at] == "'":
        end = text.find("'", at + 1)
        if end < 0:
            raise _bad(text, at, "the quote is not closed")
        return text[at + 1 : end], end + 1
    try:
        part, end = json.JSONDecoder().raw_decode(text, at)
    except ValueError:
        raise _bad(text, at, "the quote is not closed") from None
    return str(part), end


def _bad(text: str, at: int, problem: str) -> BadPath:
    text = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    return BadPath(f"path {text!r}, at character {at + 1}: {problem}")
