"""The parts of a state type: cells, tables, and a fingerprint.

A state is a mutable `msgspec.Struct`, dataclass or class of attrs. Each of its fields is a *cell*, encoded whole, or
a `Table`, which is sent by rows. A plain dict, list or set is a state of one single cell, whose name is "".

A type is read once, when the bot's class is, and everything that could fail later is reported then: a row that can
change in place, a Table in a wrong place, a field of a type that cannot be encoded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, cast

import msgspec
from msgspec import inspect

from ...protocol.frame import Schema
from .table import StateError, Table, check_row_type, is_frozen

__all__ = ["CellField", "Shape", "StateTypeError", "TableField", "every_type"]


class StateTypeError(StateError, TypeError):
    """A type that cannot be a bot's state; `field` names the part at fault."""


@dataclasses.dataclass(frozen=True, slots=True)
class CellField:
    """A field that is encoded whole. `name` is its name in the encoding, `attr` its name in Python."""

    name: str
    attr: str
    type: Any
    required: bool
    decode: Callable[[bytes], Any]
    parts: TableField | None
    """How to read a dict by rows: in another release it may be a Table."""


@dataclasses.dataclass(frozen=True, slots=True)
class TableField:
    """A field that is encoded row by row."""

    name: str
    attr: str
    row: type[Any] | None
    """The class of its rows, None when the row type is not a single class."""
    types: tuple[Any, Any]
    """The declared types of keys and rows."""
    decode_key: Callable[[bytes], Any]
    decode_row: Callable[[bytes], Any]
    decode_all: Callable[[bytes], dict[Any, Any]]
    """Decodes one map of all rows: in another release the field may be a plain dict."""


class Shape:
    """The parts of `state_type`. Raises `StateTypeError`, or `RowTypeError` for a table with mutable rows."""

    def __init__(self, state_type: Any) -> None:
        self.type = state_type
        self.name: str = getattr(state_type, "__name__", None) or str(state_type)
        info = self._inspect(state_type)
        self.single = not isinstance(info, (inspect.StructType, inspect.DataclassType))
        """Whether the state is one value and not a record of fields."""
        self.cells: tuple[CellField, ...]
        self.tables: tuple[TableField, ...]
        if isinstance(info, (inspect.StructType, inspect.DataclassType)):
            self.cells, self.tables = self._fields(info)
        else:
            self._check_encodable(info, "")
            if not isinstance(info, (inspect.DictType, inspect.ListType, inspect.SetType)):
                raise StateTypeError(
                    f"state type {self.name} cannot change in place: expected a mutable msgspec.Struct or "
                    "dataclass, or a dict, list or set"
                )
            self.cells, self.tables = (_cell("", "", state_type, required=True),), ()
        self.fingerprint = self._fingerprint(info)

    def schema(self, version: int) -> Schema:
        return Schema(version, self.fingerprint)

    def values(self) -> Callable[[Any], tuple[Any, ...]]:
        """Return a function that gets the values of a state's cells, in order, as fast as possible."""
        if self.single:
            return lambda state: (state,)
        attrs = [cell.attr for cell in self.cells]
        if len(attrs) > 1:
            return attrgetter(*attrs)
        return lambda state: tuple(getattr(state, attr) for attr in attrs)

    def _inspect(self, state_type: Any) -> inspect.Type:
        try:
            info = inspect.type_info(state_type)
        except NameError as problem:
            raise StateTypeError(
                f"state type {self.name}: {problem}: define its types at the top of their module"
            ) from None
        except TypeError as problem:
            raise StateTypeError(f"state type {self.name} cannot be encoded: {problem}") from None
        if (isinstance(info, inspect.StructType) and cast(Any, info.cls).__struct_config__.frozen) or (
            isinstance(info, inspect.DataclassType) and is_frozen(info.cls)
        ):
            raise StateTypeError(
                f"state type {self.name} is frozen, but a state must change: drop frozen=True"
            )
        return info

    def _fields(
        self, info: inspect.StructType | inspect.DataclassType
    ) -> tuple[tuple[CellField, ...], tuple[TableField, ...]]:
        hints = typing.get_type_hints(info.cls, include_extras=True)
        cells: list[CellField] = []
        tables: list[TableField] = []
        for field in info.fields:
            hint = hints[field.name]
            if _table_class(field.type):
                tables.append(self._table(field, hint))
            else:
                self._check_encodable(field.type, field.name)
                cells.append(_cell(field.encode_name, field.name, hint, required=field.required))
        return tuple(cells), tuple(tables)

    def _table(self, field: inspect.Field, hint: Any) -> TableField:
        args = typing.get_args(hint)
        if typing.get_origin(hint) is not Table or len(args) != 2:
            raise StateTypeError(
                f"state type {self.name}: table {field.name} does not name its key and row types: "
                "write Table[str, Candle]",
                field.name,
            )
        if field.required:
            raise StateTypeError(
                f"state type {self.name}: table {field.name} has no default: "
                "write = msgspec.field(default_factory=Table)",
                field.name,
            )
        key_type, row_type = args
        check_row_type(key_type, field.name, part="key")
        check_row_type(row_type, field.name)
        return _table_field(field.encode_name, field.name, key_type, row_type)

    def _check_encodable(self, info: inspect.Type, field: str) -> None:
        """Raise unless msgspec can encode and decode the values that `info` describes."""
        for part in every_type(info, set()):
            if _table_class(part):
                raise StateTypeError(
                    f"state type {self.name}: field {field!r} has a Table inside: "
                    "a Table can only be a field of the state itself",
                    field,
                )
            if isinstance(part, inspect.CustomType) and part.cls is not object:
                where = f"field {field!r} holds" if field else "it is"
                raise StateTypeError(
                    f"state type {self.name}: {where} {part.cls.__name__}, which cannot be encoded: "
                    "keep what rebuilds it (a msgspec.Struct, numbers, text) and build it in on_load",
                    field,
                )

    def _fingerprint(self, info: inspect.Type) -> str:
        tables = {t.attr: t for t in self.tables}
        if not isinstance(info, (inspect.StructType, inspect.DataclassType)):
            return _digest(_describe(info, ()))
        hints = typing.get_type_hints(info.cls, include_extras=True) if tables else {}
        parts: list[str] = []
        for field in info.fields:
            if field.name in tables:
                kinds = (_describe(inspect.type_info(arg), ()) for arg in typing.get_args(hints[field.name]))
                parts.append(f"{field.encode_name}:table({','.join(kinds)})")
            else:
                parts.append(_describe_field(field, (info.cls,)))
        return _digest("{" + ",".join(sorted(parts)) + "}")


def _cell(name: str, attr: str, hint: Any, *, required: bool) -> CellField:
    parts = None
    args = typing.get_args(hint)
    if name and typing.get_origin(hint) is dict and len(args) == 2:
        parts = _table_field(name, attr, *args)
    return CellField(name, attr, hint, required, msgspec.msgpack.Decoder(hint).decode, parts)


def _table_field(name: str, attr: str, key_type: Any, row_type: Any) -> TableField:
    return TableField(
        name,
        attr,
        row_type if _is_struct(row_type) else None,
        (key_type, row_type),
        msgspec.msgpack.Decoder(key_type).decode,
        msgspec.msgpack.Decoder(row_type).decode,
        msgspec.msgpack.Decoder(types.GenericAlias(dict, (key_type, row_type))).decode,
    )


def _is_struct(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _table_class(info: inspect.Type) -> bool:
    return isinstance(info, inspect.CustomType) and issubclass(info.cls, Table)


def every_type(info: inspect.Type, seen: set[type]) -> Iterator[inspect.Type]:
    """Every type within a type, the type itself first. Each record comes once."""
    yield info
    cls = getattr(info, "cls", None)
    if cls is not None:
        if cls in seen:
            return
        seen.add(cls)
    for value in _attributes(info).values():
        for part in cast("Iterable[object]", value) if isinstance(value, tuple) else (value,):
            inner = part.type if isinstance(part, inspect.Field) else part
            if isinstance(inner, inspect.Type):
                yield from every_type(inner, seen)


def _describe(info: inspect.Type, above: tuple[type, ...]) -> str:
    """Describe a type by how it is encoded, the same on every version of Python and msgspec.

    Names of classes do not count, nor does the order of fields that are encoded by name.
    """
    kind = type(info).__name__.removesuffix("Type").lower()
    if isinstance(info, inspect.Metadata):
        return _describe(info.type, above)
    if isinstance(info, inspect.UnionType):
        return "|".join(sorted({_describe(part, above) for part in info.types}))
    if isinstance(info, inspect.LiteralType):
        return f"literal({','.join(sorted(map(repr, info.values)))})"
    if isinstance(info, inspect.EnumType):
        return f"enum({','.join(sorted(repr(member.value) for member in info.cls))})"
    if isinstance(info, inspect.CustomType):
        return f"custom({info.cls.__qualname__})"
    attributes = _attributes(info)
    if "fields" in attributes:
        cls: type = attributes.pop("cls")
        if cls in above:
            return f"^{above[::-1].index(cls)}"
        parts = [_describe_field(field, (*above, cls)) for field in attributes.pop("fields")]
        if not attributes.get("array_like") and not isinstance(info, inspect.NamedTupleType):
            parts.sort()
        attributes.pop("forbid_unknown_fields", None)
        return "{" + ",".join(parts) + "}" + _constraints(attributes)
    inner = [
        _describe(part, above)
        for value in attributes.values()
        for part in (cast("Iterable[object]", value) if isinstance(value, tuple) else (value,))
        if isinstance(part, inspect.Type)
    ]
    return kind + (f"({','.join(inner)})" if inner else "") + _constraints(attributes)


def _describe_field(field: inspect.Field, above: tuple[type, ...]) -> str:
    return f"{field.encode_name}:{_describe(field.type, above)}{'' if field.required else '?'}"


def _constraints(attributes: dict[str, Any]) -> str:
    plain = {
        name: value
        for name, value in attributes.items()
        if value not in (None, False) and isinstance(value, (bool, int, float, str))
    }
    return "".join(f"[{name}={value!r}]" for name, value in sorted(plain.items()))


def _attributes(info: inspect.Type) -> dict[str, Any]:
    return {name: getattr(info, name) for name in cast(Any, info).__struct_fields__}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
