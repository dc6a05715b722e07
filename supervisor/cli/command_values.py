"""Parses NAME=VALUE by its JSON Schema: `note=7` is text where `note` is text.

A shell has text only, so a value that is JSON is taken as such, and as the text that it is where only that fits. What
can fit in neither way is refused here, in words that say how it is written. Everything else, such as bounds, is for the
bot's own type, which is the judge of it anyway.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from ...protocol.text import DuplicateKey, refuse_duplicates
from ...protocol.wire import UNDECODABLE
from .exit_codes import BadInput

__all__ = ["Schema", "kind", "read", "refuse_equal_keys"]

Schema = Mapping[str, Any]

_ANY: Schema = {}


def read(pairs: Iterable[str], wants: Schema | None = None) -> dict[str, Any]:
    """The values in KEY=VALUE pairs. `wants` is the schema of all values, when known. Raises `BadInput`."""
    wants = wants or {}
    properties = cast("Mapping[str, Schema]", wants.get("properties", {}))
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise BadInput(f"{pair!r} is not an argument: expected KEY=VALUE, as in pct=2.5")
        if key in found:
            raise BadInput(f"{key} is given twice: give it once")
        found[key] = _value(key, text, properties.get(key, _ANY), wants)
    return found


def refuse_equal_keys(text: str, name: str) -> None:
    """Raise `BadInput` when an object in this JSON, called `name`, has a key twice."""
    try:
        refuse_duplicates(text.encode())
    except DuplicateKey as problem:
        raise BadInput(f"{name}: {problem}: give it once") from None


def kind(about: Schema, whole: Schema = _ANY) -> str:
    """The type in a JSON Schema, in a few words; `whole` is the schema that it is a part of."""
    about = _looked_up(about, whole)
    if "enum" in about:
        return "|".join(json.dumps(choice) for choice in cast("list[Any]", about["enum"]))
    if "anyOf" in about:
        return "|".join(kind(choice, whole) for choice in cast("list[Schema]", about["anyOf"]))
    name = str(about.get("type", "any"))
    of = _elements(about, whole)
    name += f" of {of}" if of else ""
    bounds = " ".join(f"{sign}{about[key]}" for key, sign in _BOUNDS.items() if key in about)
    return f"{name} {bounds}".strip()


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}

_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0
    ),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}

_WRITTEN = {
    "boolean": "true or false",
    "array": "a JSON array, as in {name}='[1, 2]'",
    "object": "a JSON object, as in {name}='{{\"a\": 1}}'",
}


def _value(name: str, text: str, about: Schema, whole: Schema) -> Any:
    try:
        value: Any = msgspec.json.decode(text)
    except UNDECODABLE:
        value = text
    if _fits(value, about, whole):
        refuse_equal_keys(text, name)
        return value
    if _fits(text, about, whole):
        return text
    raise BadInput(f"{name}={text}: expected {_written(name, about, whole)}")


def _fits(value: Any, about: Schema, whole: Schema) -> bool:
    """Whether the value has the right type. Contents are not checked, and unknown types fit."""
    about = _looked_up(about, whole)
    if "enum" in about:
        return any(
            value == choice and type(value) is type(choice) for choice in cast("list[Any]", about["enum"])
        )
    if "anyOf" in about:
        return any(_fits(value, choice, whole) for choice in cast("list[Schema]", about["anyOf"]))
    test = _TYPES.get(str(about.get("type", "")))
    return test is None or test(value)


def _written(name: str, about: Schema, whole: Schema) -> str:
    about = _looked_up(about, whole)
    if "anyOf" in about:
        return " or ".join(_written(name, choice, whole) for choice in cast("list[Schema]", about["anyOf"]))
    if "enum" in about:
        return " or ".join(json.dumps(choice) for choice in cast("list[Any]", about["enum"]))
    return _WRITTEN.get(str(about.get("type")), kind(about, whole)).format(name=name)


def _elements(about: Schema, whole: Schema) -> str:
    """The types of an array's items or an object's values, "" when not given."""
    if "prefixItems" in about:
        return f"({', '.join(kind(item, whole) for item in cast('list[Schema]', about['prefixItems']))})"
    inside: object = about.get("items") or about.get("additionalProperties")
    if not isinstance(inside, dict):
        return ""
    of = kind(cast("Schema", inside), whole)
    return "" if of == "any" else f"({of})" if "|" in of else of


def _looked_up(about: Schema, whole: Schema) -> Schema:
    name = str(about.get("$ref", "")).rpartition("/")[2]
    known = cast("Mapping[str, Schema]", whole.get("$defs", {}))
    return known.get(name, _ANY) if name else about
