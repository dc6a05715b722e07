"""Decodes values of a state as the types that the journal says they are of, without the bot's code.

The JSON Schema in a snapshot is turned into types that msgspec decodes, with the same rules as in the bot's process.
What the schema does not say is decoded as anything.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Any, Literal, Union, cast

import msgspec

from ..wire import UNDECODABLE
from .typed_json import ANYTHING, TypeSchema, inside, looked_up

__all__ = ["TypedDecoder"]

Decode = Callable[[bytes], Any]

_SIMPLE: dict[str, Any] = {
    "null": None,
    "boolean": bool,
    "integer": int,
    "number": float,
    "date-time": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
    "decimal": decimal.Decimal,
}


class TypedDecoder:
    """Decodes the fields and rows of a state of these types. `ANYTHING` as the types tells nothing."""

    def __init__(self, types: TypeSchema) -> None:
        self._types = types
        self._decoders: dict[tuple[str, str], Decode | None] = {}
        self._records: dict[str, Any] = {}
        self._above: list[str] = []

    def problem_of_field(self, name: str, data: bytes) -> str:
        """Why a field, or the single value of a state (""), is not of its type; "" when it is."""
        return self._problem(("field", name), data, name or "state")

    def problem_of_row(self, table: str, key: bytes, row: bytes | None) -> str:
        """Why a row of a table, or its key, is not of its type; "" when both are."""
        problem = self._problem(("key", table), key, f"{table} key")
        return problem or ("" if row is None else self._problem(("row", table), row, f"{table} row"))

    def _problem(self, part: tuple[str, str], data: bytes, where: str) -> str:
        if part not in self._decoders:
            self._decoders[part] = self._decoder(*part)
        decode = self._decoders[part]
        if decode is None:
            return ""
        try:
            decode(data)
        except UNDECODABLE as problem:
            said = str(problem)
            return said.replace("`$", f"`{where}", 1) if "`$" in said else f"{where}: {said}"
        return ""

    def _decoder(self, part: str, name: str) -> Decode | None:
        try:
            return self._decoder_of(self._about(part, name))
        except Exception:
            # A union that only the bot's own classes can tell apart; or a damaged journal, whose types are no schema.
            return None

    def _about(self, part: str, name: str) -> TypeSchema:
        about = self._types if name == "" else inside(self._types, self._types, name)
        match part:
            case "key":
                about = cast(
                    "TypeSchema", about.get("propertyNames", {"type": "string"} if about else ANYTHING)
                )
            case "row":
                about = inside(about, self._types, "")
            case _:
                pass
        return about

    def _decoder_of(self, about: TypeSchema) -> Decode | None:
        return msgspec.msgpack.Decoder(self._type(about)).decode if about else None

    def _type(self, about: TypeSchema) -> Any:
        name = str(about.get("$ref", "")).rpartition("/")[2]
        if name:
            return self._record_named(name)
        if "anyOf" in about:
            return Union[tuple(map(self._type, about["anyOf"]))]  # pyright: ignore[reportReturnType, reportInvalidTypeArguments]  # noqa: UP007
        if "enum" in about:
            return Literal[tuple(about["enum"])]  # pyright: ignore[reportReturnType, reportInvalidTypeForm]
        if "contentEncoding" in about:
            return bytes
        kind = str(about.get("format") or about.get("type"))
        if kind in _SIMPLE:
            return _SIMPLE[kind]
        match about.get("type"):
            case "string":
                return str
            case "array" if "prefixItems" in about:
                return GenericAlias(tuple, tuple(map(self._type, about["prefixItems"])))
            case "array":
                return list[self._type(about.get("items", ANYTHING))]
            case "object" if "properties" in about:
                return self._record(about)
            case "object":
                keys = self._type(about.get("propertyNames", {"type": "string"}))
                return dict[keys, self._type(about.get("additionalProperties", ANYTHING))]
            case _:
                return Any

    def _record_named(self, name: str) -> Any:
        if name in self._above:
            # It is within itself; deeper down its own types are not looked at.
            return Any
        if name not in self._records:
            self._above.append(name)
            try:
                self._records[name] = self._type(looked_up({"$ref": f"#/$defs/{name}"}, self._types))
            finally:
                self._above.pop()
        return self._records[name]

    def _record(self, about: TypeSchema) -> Any:
        properties = cast("Mapping[str, TypeSchema]", about["properties"])
        required = set(cast("list[str]", about.get("required", ())))
        tag_field = next((name for name, one in properties.items() if "const" in one), None)
        fields: list[tuple[str, Any, Any]] = []
        for at, (name, one) in enumerate(properties.items()):
            if name == tag_field:
                continue
            # What a field is called in bytes may be no name in Python.
            default: Any = msgspec.NODEFAULT if name in required else None
            fields.append((f"field{at}", self._type(one), msgspec.field(name=name, default=default)))
        tag = properties[tag_field]["const"] if tag_field is not None else None
        return msgspec.defstruct(
            str(about.get("title", "Record")),
            fields,
            tag=tag,
            tag_field=None if tag is None else tag_field,
            array_like=bool(about.get("x-array")),
            kw_only=True,
        )
