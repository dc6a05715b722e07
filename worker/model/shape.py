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
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec
from msgspec import inspect

from ...protocol.frame import Schema
from ..codecs.codec import Codec, CodecError
from ..codecs.hints import class_of, union_members
from ..codecs.type_hooks import TypeHooks
from .cell import Cell
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
    hooks: TypeHooks
    """The codecs of its type, and how its values are encoded."""
    held: Cell[Any] | None = None
    """The Cell that is its default, if it is one. Then `type`, `decode` and `hooks` are those of the Cell's value."""


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
    hooks: TypeHooks
    """The codecs of its types, and how its keys and rows are encoded."""


class Shape:
    """The parts of `state_type`; `codecs` encode the types in it that are the bot's own.

    Raises `StateTypeError`, or `RowTypeError` for a table with mutable rows.
    """

    def __init__(self, state_type: Any, codecs: Sequence[Codec[Any]] = ()) -> None:
        self.type = state_type
        self._codecs = codecs
        self.name: str = getattr(state_type, "__name__", None) or str(state_type)
        info = self._inspect(state_type)
        self.single = not isinstance(info, (inspect.StructType, inspect.DataclassType))
        """Whether the state is one value and not a record of fields."""
        self.cells: tuple[CellField, ...]
        self.tables: tuple[TableField, ...]
        if isinstance(info, (inspect.StructType, inspect.DataclassType)):
            self.cells, self.tables = self._fields(info)
        else:
            hooks = self._hooks(info, state_type, "")
            if not isinstance(info, (inspect.DictType, inspect.ListType, inspect.SetType)):
                raise StateTypeError(
                    f"state type {self.name} cannot change in place: expected a mutable msgspec.Struct or "
                    "dataclass, or a dict, list or set"
                )
            self.cells, self.tables = (_cell("", "", state_type, hooks, required=True),), ()
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
            if _is_class(field.type, Table):
                tables.append(self._table(field, hint))
            elif _is_class(field.type, Cell):
                cells.append(self._held(field, hint))
            else:
                hooks = self._hooks(field.type, hint, field.name, _default(field, hint))
                cells.append(_cell(field.encode_name, field.name, hint, hooks, required=field.required))
        return tuple(cells), tuple(tables)

    def _held(self, field: inspect.Field, hint: Any) -> CellField:
        """A field that is a Cell: its value is encoded in its place."""
        args = typing.get_args(hint)
        if typing.get_origin(hint) is not Cell or len(args) != 1:
            raise StateTypeError(
                f"state type {self.name}: cell {field.name} does not say what it holds: write Cell[River]",
                field.name,
            )
        default = field.default_factory() if callable(field.default_factory) else field.default
        if not isinstance(default, Cell):
            raise StateTypeError(
                f"state type {self.name}: the default of cell {field.name} is not a Cell: "
                "write = msgspec.field(default_factory=lambda: Cell(River()))",
                field.name,
            )
        hooks = self._hooks(inspect.type_info(args[0]), args[0], field.name)
        cell = _cell(field.encode_name, field.name, args[0], hooks, required=False)
        return dataclasses.replace(cell, parts=None, held=cast("Cell[Any]", default))

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
        problem = None
        frozen: dict[type[Any], bool] = {}
        hooks = TypeHooks(Any)
        try:
            hooks = TypeHooks(types.GenericAlias(dict, (key_type, row_type)), self._codecs)
            frozen = {codec.cls: codec.frozen for codec in hooks.bound.values()}
        except CodecError as found:
            problem = found
        # First, because its message says more of a type without a codec.
        check_row_type(key_type, field.name, part="key", codecs=frozen)
        check_row_type(row_type, field.name, codecs=frozen)
        if problem is not None:
            raise StateTypeError(f"state type {self.name}: table {field.name}: {problem.message}", field.name)
        return _table_field(field.encode_name, field.name, key_type, row_type, hooks)

    def _hooks(self, info: inspect.Type, hint: Any, field: str, default: Any = None) -> TypeHooks:
        """The codecs of a field. Raises unless everything in its type can be encoded and decoded."""
        for part in every_type(info, set()):
            for cls in (Table, Cell):
                if _is_class(part, cls):
                    raise StateTypeError(
                        f"state type {self.name}: field {field!r} has a {cls.__name__} inside: "
                        f"a {cls.__name__} can only be a field of the state itself",
                        field,
                    )
        try:
            return TypeHooks(hint, self._codecs, default)
        except CodecError as problem:
            where = f"field {field!r}: " if field else ""
            raise StateTypeError(f"state type {self.name}: {where}{problem.message}", field) from None

    def _fingerprint(self, info: inspect.Type) -> str:
        tables = {t.attr: t for t in self.tables}
        if not isinstance(info, (inspect.StructType, inspect.DataclassType)):
            return _digest(_describe(info, ()) + _describe_codecs(self.cells[0].hooks))
        cells = {cell.attr: cell for cell in self.cells}
        hints = typing.get_type_hints(info.cls, include_extras=True) if tables else {}
        parts: list[str] = []
        for field in info.fields:
            if field.name in tables:
                kinds = (_describe(inspect.type_info(arg), ()) for arg in typing.get_args(hints[field.name]))
                described = f"{field.encode_name}:table({','.join(kinds)})"
                parts.append(described + _describe_codecs(tables[field.name].hooks))
                continue
            cell = cells[field.name]
            if cell.held is not None:
                described = f"{field.encode_name}:{_describe(inspect.type_info(cell.type), (info.cls,))}?"
            else:
                described = _describe_field(field, (info.cls,))
            parts.append(described + _describe_codecs(cell.hooks))
        return _digest("{" + ",".join(sorted(parts)) + "}")


def _cell(name: str, attr: str, hint: Any, hooks: TypeHooks, *, required: bool) -> CellField:
    parts = None
    args = typing.get_args(hint)
    if name and typing.get_origin(hint) is dict and len(args) == 2:
        parts = _table_field(name, attr, *args, hooks)
    return CellField(name, attr, hint, required, hooks.decoder(hint), parts, hooks)


def _table_field(name: str, attr: str, key_type: Any, row_type: Any, hooks: TypeHooks) -> TableField:
    return TableField(
        name,
        attr,
        row_type if _is_struct(row_type) else None,
        (key_type, row_type),
        hooks.decoder(key_type),
        hooks.decoder(row_type),
        hooks.decoder(types.GenericAlias(dict, (key_type, row_type))),
        hooks,
    )


def _default(field: inspect.Field, hint: Any) -> Any:
    """The default of a field that can be a defaultdict: it says what a missing key becomes. None for other fields."""
    if not any(class_of(member) is defaultdict for member in union_members(hint)):
        return None
    return field.default_factory() if callable(field.default_factory) else None


def _is_struct(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _is_class(info: inspect.Type, cls: type[Any]) -> bool:
    return isinstance(info, inspect.CustomType) and issubclass(info.cls, cls)


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


def _describe_codecs(hooks: TypeHooks) -> str:
    """Describe the codecs of a field by how their values are encoded."""
    kinds = {f"{codec.name}={_describe(inspect.type_info(codec.wire), ())}" for codec in hooks.bound.values()}
    return f"<{','.join(sorted(kinds))}>" if kinds else ""


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
