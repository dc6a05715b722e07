"""Values of a bot's state as JSON, and back, by a JSON Schema of their types.

The state travels as msgpack, which says more than JSON can. What JSON has no form for is written as an object with one
key that begins with `$`: `{"$float": "nan"}`, `{"$bytes": "aGk="}`, `{"$datetime": "2026-11-24T09:00:00Z"}`,
`{"$map": [[[1, 2], "x"]]}` for a map whose keys are not text, `{"$ext": [5, "aGk="]}`. Where the schema tells the type,
the plain form is enough: base64 for bytes, text for a datetime, text for the keys of a `dict[int, X]`, and an object
with names for a struct that travels as an array. `from_json` reverses `to_json` exactly, and takes the plain form too.

The schemas are JSON Schema (2020-12) as the worker writes it into the journal, with two words of our own: `x-array`, an
object whose properties travel as an array in their order, and `x-table`, a field that travels by rows.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from ..errors import NeverblinkError

__all__ = [
    "ANYTHING",
    "BadStateValue",
    "TypeSchema",
    "from_json",
    "inside",
    "is_integer",
    "is_scalar",
    "key_text",
    "looked_up",
    "member_of",
    "to_json",
]

TypeSchema = Mapping[str, Any]
"""A JSON Schema, or a part of one."""

ANYTHING: TypeSchema = {}

_MOST_DIGITS = 20


class BadStateValue(NeverblinkError):
    """A JSON value that cannot be a part of the state; `where` is its path within the value."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.where = where


def to_json(value: Any, about: TypeSchema = ANYTHING, whole: TypeSchema = ANYTHING) -> Any:
    """`value`, decoded from msgpack without types, as JSON. `about` is its schema, a part of `whole`."""
    about = _member(about, whole, value, packed=True)
    match value:
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
        case bytes():
            text = b64encode(value).decode()
            return text if about.get("contentEncoding") == "base64" else {"$bytes": text}
        case datetime():
            text = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
            return text if about.get("format") == "date-time" else {"$datetime": text}
        case msgspec.msgpack.Ext():
            return {"$ext": [value.code, b64encode(value.data).decode()]}
        case list():
            return _array_to_json(cast("list[Any]", value), about, whole)
        case dict():
            return _map_to_json(cast("dict[Any, Any]", value), about, whole)
        case _:
            return value


def from_json(value: Any, about: TypeSchema = ANYTHING, whole: TypeSchema = ANYTHING, where: str = "") -> Any:
    """The reverse of `to_json`: what msgpack encodes to the value's bytes. Raises `BadStateValue`.

    Only the form is looked at here. Whether the value fits its type is judged by who decodes it with that type.
    """
    about = _member(about, whole, value, packed=False)
    match value:
        case str() if about.get("contentEncoding") == "base64":
            return _base64(value, where)
        case str() if about.get("format") == "date-time":
            return _moment(value)
        case list():
            items = cast("list[Any]", value)
            return [
                from_json(item, inside(about, whole, at), whole, f"{where}[{at}]")
                for at, item in enumerate(items)
            ]
        case dict():
            fields = cast("dict[str, Any]", value)
            special = next(iter(fields), "") if len(fields) == 1 else ""
            if special.startswith("$"):
                return _special(special, fields[special], about, whole, where)
            return _object_from_json(fields, about, whole, where)
        case _:
            return value


def inside(about: TypeSchema, whole: TypeSchema, part: Any) -> TypeSchema:
    """The schema of the part of a value with that name, key or index; `ANYTHING` where it is not known."""
    about = looked_up(about, whole)
    found: Any = None
    if isinstance(part, int) and "prefixItems" in about:
        items = cast("list[TypeSchema]", about["prefixItems"])
        found = items[part] if -len(items) <= part < len(items) else None
    elif isinstance(part, int) and "items" in about:
        found = about["items"]
    else:
        properties = cast("Mapping[str, TypeSchema]", about.get("properties", {}))
        found = properties.get(str(part), about.get("additionalProperties"))
    return cast("TypeSchema", found) if isinstance(found, dict) else ANYTHING


def looked_up(about: TypeSchema, whole: TypeSchema) -> TypeSchema:
    """`about`, or what it refers to."""
    name = str(about.get("$ref", "")).rpartition("/")[2]
    return cast("Mapping[str, TypeSchema]", whole.get("$defs", {})).get(name, ANYTHING) if name else about


def member_of(about: TypeSchema, whole: TypeSchema, value: Any) -> TypeSchema:
    """The schema of `value`, decoded from msgpack without types: of a union, the member that it is."""
    return _member(about, whole, value, packed=True)


def is_scalar(value: Any) -> bool:
    """Whether a JSON value is a single one, such as `{"$float": "nan"}`, though it may be written as an object."""
    if not isinstance(value, dict):
        return not isinstance(value, list)
    fields = cast("dict[str, Any]", value)
    name = next(iter(fields), "")
    return len(fields) == 1 and name.startswith("$") and name != "$map"


def key_text(key: Any) -> str:
    """A key of a map, in its JSON form, as text."""
    return key if isinstance(key, str) else json.dumps(key, ensure_ascii=False)


def _array_to_json(items: list[Any], about: TypeSchema, whole: TypeSchema) -> Any:
    if about.get("x-array"):
        properties = cast("Mapping[str, TypeSchema]", about["properties"])
        if len(items) <= len(properties):
            named = zip(properties, items, strict=False)
            return {name: to_json(item, properties[name], whole) for name, item in named}
        about = ANYTHING
    return [to_json(item, inside(about, whole, at), whole) for at, item in enumerate(items)]


def _map_to_json(fields: dict[Any, Any], about: TypeSchema, whole: TypeSchema) -> Any:
    if all(isinstance(key, str) and not key.startswith("$") for key in fields):
        return {key: to_json(value, inside(about, whole, key), whole) for key, value in fields.items()}
    if _keys(about, whole).get("type") == "integer" and all(type(key) is int for key in fields):
        return {
            str(key): to_json(value, inside(about, whole, str(key)), whole) for key, value in fields.items()
        }
    keys, values = _keys(about, whole), inside(about, whole, "")
    pairs = [
        [to_json(_as_list(key), keys, whole), to_json(value, values, whole)] for key, value in fields.items()
    ]
    return {"$map": pairs}


def _object_from_json(fields: dict[str, Any], about: TypeSchema, whole: TypeSchema, where: str) -> Any:
    properties = cast("Mapping[str, TypeSchema]", about.get("properties", {}))
    if about.get("x-array"):
        for name in fields:
            if name not in properties:
                raise BadStateValue(where, f"there is no field {name!r}: expected {', '.join(properties)}")
        return _in_order(fields, properties, whole, where)
    whole_keys = _keys(about, whole).get("type") == "integer"
    found: dict[Any, Any] = {}
    for name, value in fields.items():
        key = int(name) if whole_keys and is_integer(name) else name
        below = f"{where}.{name}" if where else name
        found[key] = from_json(value, inside(about, whole, name), whole, below)
    return found


def _in_order(
    fields: dict[str, Any], properties: Mapping[str, TypeSchema], whole: TypeSchema, where: str
) -> list[Any]:
    """The values of a struct that travels as an array. One left out has its default, where the schema says it."""
    last = max((at for at, name in enumerate(properties) if name in fields), default=-1)
    found: list[Any] = []
    for name, about in list(properties.items())[: last + 1]:
        value = fields.get(name, about.get("default", about.get("const", _MISSING)))
        if value is _MISSING:
            raise BadStateValue(where, f"field {name!r} is missing")
        found.append(from_json(value, about, whole, f"{where}.{name}" if where else name))
    return found


def _special(name: str, value: Any, about: TypeSchema, whole: TypeSchema, where: str) -> Any:
    try:
        match name, value:
            case "$float", str():
                return float(value)
            case "$bytes", str():
                return _base64(value, where)
            case "$datetime", str():
                moment = datetime.fromisoformat(value)
                return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            case "$ext", [int() as code, str() as text]:
                return msgspec.msgpack.Ext(code, _base64(text, where))
            case "$map", list():
                keys, values = _keys(about, whole), inside(about, whole, "")
                pairs = cast("list[tuple[Any, Any]]", value)
                return {
                    _as_tuple(from_json(key, keys, whole, where)): from_json(
                        one, values, whole, f"{where}[{key_text(key)}]"
                    )
                    for key, one in pairs
                }
            case _:
                raise BadStateValue(where, f"{name} is not a form that values have, or its value is not text")
    except (ValueError, TypeError) as problem:
        raise BadStateValue(where, f"{name}: {problem}") from None


def _moment(text: str) -> datetime | str:
    """A datetime with a zone, as msgpack has it; any other text stays, and is for the type to judge."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment if moment.tzinfo is not None else text


def _base64(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise BadStateValue(where, "expected bytes as base64") from None


def _keys(about: TypeSchema, whole: TypeSchema) -> TypeSchema:
    return looked_up(cast("TypeSchema", about.get("propertyNames", ANYTHING)), whole)


def _member(about: TypeSchema, whole: TypeSchema, value: Any, *, packed: bool) -> TypeSchema:
    """The schema of this value: of a union's, the first that it can be. `packed`: as msgpack has it, not JSON."""
    about = looked_up(about, whole)
    members = cast("list[TypeSchema] | None", about.get("anyOf"))
    if members is None:
        return about
    found = (looked_up(member, whole) for member in members)
    return next((member for member in found if _may_be(member, value, packed=packed)), ANYTHING)


def _may_be(about: TypeSchema, value: Any, *, packed: bool) -> bool:
    if "enum" in about:
        return value in about["enum"]
    kind = about.get("type")
    properties = cast("Mapping[str, TypeSchema]", about.get("properties", {}))
    match value:
        case None:
            return kind == "null"
        case bool():
            return kind == "boolean"
        case int():
            return kind in ("integer", "number")
        case float():
            return kind == "number"
        case str():
            return kind == "string"
        case bytes():
            return about.get("contentEncoding") == "base64"
        case datetime():
            return about.get("format") == "date-time"
        case list():
            if packed and about.get("x-array"):
                tag = next(iter(properties.values()), ANYTHING).get("const", _MISSING)
                return tag is _MISSING or value[:1] == [tag]
            return kind == "array"
        case dict():
            fields = cast("dict[Any, Any]", value)
            tags = {name: one["const"] for name, one in properties.items() if "const" in one}
            return (
                kind == "object"
                and not (packed and about.get("x-array"))
                and all(fields.get(name) == tag for name, tag in tags.items())
            )
        case _:
            return False


def is_integer(text: str) -> bool:
    """Whether text is an integer that msgpack may be able to carry."""
    digits = text.removeprefix("-")
    return digits.isdecimal() and text.isascii() and len(digits) <= _MOST_DIGITS


def _as_list(key: Any) -> Any:
    return [_as_list(part) for part in cast("tuple[Any, ...]", key)] if isinstance(key, tuple) else key


def _as_tuple(key: Any) -> Any:
    return tuple(_as_tuple(part) for part in cast("list[Any]", key)) if isinstance(key, list) else key


_MISSING: Any = object()
