"""The JSON Schema of a state type, which the journal carries: a reader needs no code of the bot's to read the state.

It is JSON Schema (2020-12) with two words of our own, which `protocol.state.typed_json` explains: `x-array` and
`x-table`. msgspec's own schemas leave out what a reader of msgpack needs: the names of what travels as an array, and
the types of keys.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec
from msgspec import inspect

from ...protocol.state.typed_json import ANYTHING, TypeSchema, to_json
from .cell import Cell
from .shape import Shape

__all__ = ["state_schema"]

_LARGEST_DEFAULT = 1024
"""Bytes; a larger default of a field is left out."""

_SIMPLE: dict[str, dict[str, Any]] = {
    "NoneType": {"type": "null"},
    "BoolType": {"type": "boolean"},
    "IntType": {"type": "integer"},
    "FloatType": {"type": "number"},
    "StrType": {"type": "string"},
    "BytesType": {"type": "string", "contentEncoding": "base64"},
    "ByteArrayType": {"type": "string", "contentEncoding": "base64"},
    "MemoryViewType": {"type": "string", "contentEncoding": "base64"},
    "DateTimeType": {"type": "string", "format": "date-time"},
    "DateType": {"type": "string", "format": "date"},
    "TimeType": {"type": "string", "format": "time"},
    "TimeDeltaType": {"type": "string", "format": "duration"},
    "UUIDType": {"type": "string", "format": "uuid"},
    "DecimalType": {"type": "string", "format": "decimal"},
}
"""By name, because later versions of msgspec know more kinds than the oldest one we run with."""


def state_schema(shape: Shape) -> dict[str, Any]:
    """The schema of a state: an object with a property for each cell and table, or what its single cell is."""
    writer = _SchemaWriter({})
    for codec in (codec for part in (*shape.cells, *shape.tables) for codec in part.hooks.bound.values()):
        writer.wires.setdefault(codec.cls, []).append(codec.wire)
    info = inspect.type_info(shape.type)
    if isinstance(info, (inspect.StructType, inspect.DataclassType)):
        hints = typing.get_type_hints(info.cls, include_extras=True)
        tables = {table.name: typing.get_args(hints[table.attr]) for table in shape.tables}
        held = {cell.name: cell.type for cell in shape.cells if cell.held is not None}
        found = writer.record(info.cls, info.fields, tables=tables, held=held)
    else:
        found = writer.type(info)
    whole = {**found, "$defs": writer.records} if writer.records else found
    if isinstance(info, (inspect.StructType, inspect.DataclassType)):
        # Only now that all types are known: a value of the field is compared with its default.
        encoders = {cell.name: cell.hooks.encode for cell in shape.cells}
        for field in info.fields:
            about = whole["properties"][field.encode_name]
            if encode := encoders.get(field.encode_name):
                about.update(_default(field, about, whole, encode))
    return whole


class _SchemaWriter:
    """Collects the schemas of the records that it comes across in `records`, by name.

    `wires` are the encoded forms of each class that has a codec.
    """

    def __init__(self, wires: dict[type, list[Any]]) -> None:
        self.wires = wires
        self.records: dict[str, dict[str, Any]] = {}
        self._names: dict[type, str] = {}

    def type(self, info: inspect.Type) -> dict[str, Any]:
        kind = type(info).__name__
        if kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        match info:
            case inspect.Metadata():
                return self.type(info.type)
            case inspect.UnionType():
                return {"anyOf": [self.type(part) for part in info.types]}
            case inspect.LiteralType():
                return {"enum": list(info.values)}
            case inspect.EnumType():
                return {"title": info.cls.__name__, "enum": [member.value for member in info.cls]}
            case inspect.TupleType():
                return {"type": "array", "prefixItems": [self.type(part) for part in info.item_types]}
            case inspect.DictType():
                return self._map(info.key_type, info.value_type)
            case inspect.StructType():
                return self._reference(
                    info.cls,
                    lambda: self.record(
                        info.cls, info.fields, info.tag_field, info.tag, array=info.array_like
                    ),
                )
            case inspect.NamedTupleType():
                return self._reference(info.cls, lambda: self.record(info.cls, info.fields, array=True))
            case inspect.DataclassType() | inspect.TypedDictType():
                return self._reference(info.cls, lambda: self.record(info.cls, info.fields))
            case inspect.CustomType() if info.cls in self.wires:
                return self._reference(info.cls, lambda: self._encoded(info.cls))
            case _:
                return self._other(info)

    def record(
        self,
        cls: type,
        fields: Iterable[inspect.Field],
        tag_field: str | None = None,
        tag: str | int | None = None,
        *,
        array: bool = False,
        tables: dict[str, tuple[Any, ...]] | None = None,
        held: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The schema of a struct, or of what is encoded like one.

        `tables` are its tables, with key and row type; `held` its Cells, with the type of their value.
        """
        properties: dict[str, Any] = {} if tag is None else {tag_field or "$tag": {"const": tag}}
        required: list[str] = list(properties)
        for field in fields:
            if tables and field.encode_name in tables:
                key, row = map(inspect.type_info, tables[field.encode_name])
                properties[field.encode_name] = {**self._map(key, row), "x-table": True}
                continue
            if held and field.encode_name in held:
                properties[field.encode_name] = self.type(inspect.type_info(held[field.encode_name]))
                continue
            properties[field.encode_name] = {**self.type(field.type), **_default(field)}
            if field.required:
                required.append(field.encode_name)
        found: dict[str, Any] = {"title": cls.__name__, "type": "object", "properties": properties}
        if required:
            found["required"] = required
        return {**found, "x-array": True} if array else found

    def _map(self, key: inspect.Type, value: inspect.Type) -> dict[str, Any]:
        found = {"type": "object", "additionalProperties": self.type(value)}
        keys = self.type(key)
        return found if keys == {"type": "string"} else {**found, "propertyNames": keys}

    def _reference(self, cls: type, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if cls not in self._names:
            name = cls.__name__
            while name in self.records:
                name += "_"
            self._names[cls] = name
            # Before its fields: one of them may be of the same class.
            self.records[name] = {}
            self.records[name] = make()
        return {"$ref": f"#/$defs/{self._names[cls]}"}

    def _encoded(self, cls: type) -> dict[str, Any]:
        """The schema of what a class with a codec is encoded as, for all of its parameters."""
        found: list[dict[str, Any]] = []
        for wire in self.wires[cls]:
            schema = self.type(inspect.type_info(wire))
            if schema not in found:
                found.append(schema)
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _other(self, info: inspect.Type) -> dict[str, Any]:
        """Lists and the like; anything else is described as anything."""
        item: object = getattr(info, "item_type", None)
        return {"type": "array", "items": self.type(item)} if isinstance(item, inspect.Type) else {}


def _default(
    field: inspect.Field,
    about: TypeSchema = ANYTHING,
    whole: TypeSchema = ANYTHING,
    encode: Callable[[Any], bytes] = msgspec.msgpack.encode,
) -> dict[str, Any]:
    """The default of a field, in its JSON form, where it has one."""
    try:
        if field.default is not msgspec.NODEFAULT:
            value: Any = field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            value = cast("Callable[[], Any]", field.default_factory)()
        else:
            return {}
        data = encode(cast("Cell[Any]", value).value if isinstance(value, Cell) else value)
        if len(data) > _LARGEST_DEFAULT:
            return {}
        return {"default": to_json(msgspec.msgpack.decode(data), about, whole)}
    except Exception:
        # A factory is the bot's own code, and what it makes may be what a turn has to fill in first.
        return {}
