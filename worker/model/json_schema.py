"""JSON Schemas of a bot's commands and settings, from which forms and help texts are made."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import inspect

from .shape import every_type

__all__ = ["not_plain", "schema_of"]


def not_plain(kind: Any) -> str:
    """The name of a type within `kind` that can't be made from plain data, "" when there is none."""
    for part in every_type(inspect.type_info(kind), set()):
        if isinstance(part, inspect.CustomType) and part.cls is not object:
            return part.cls.__name__
    return ""


def schema_of(kind: Any, defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON Schema of a Struct, as one object without a reference at its top, with `defaults` included.

    A type that JSON Schema cannot express is described as anything.
    """
    try:
        schema = msgspec.json.schema(kind, schema_hook=lambda _: {})
    except (TypeError, ValueError, NotImplementedError):
        return {"type": "object"}
    inside = cast("dict[str, dict[str, Any]]", schema.pop("$defs", {}))
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name in inside:
        schema = {key: value for key, value in inside.items() if key == name}[name]
        rest = {key: value for key, value in inside.items() if key != name}
        if rest:
            schema["$defs"] = rest
    for field, value in (defaults or {}).items():
        properties = cast("dict[str, dict[str, Any]]", schema.get("properties", {}))
        if field in properties:
            properties[field]["default"] = value
    return schema
