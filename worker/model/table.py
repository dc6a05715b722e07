"""Table: the part of a bot's state that is large.

The fields of a state are encoded whole at every boundary and compared with the boundary before. That is
simple and sees every change, and it costs in proportion to the size. A Table is for what is too large for
that: thousands of candles, a book of levels. It notes which keys were written, and only those rows are sent.

That works only if nothing can change behind its back, so rows are deeply immutable: frozen structs, tuples,
scalars. A row is replaced, never edited. `check_row_type` proves it from the type, once, when the bot's class
is read.

Table is a subclass of dict and not a wrapper around one, for one reason: every read (`t[k]`, `in`, `len`,
iteration, `get`, `items`) is then dict's own C code, as fast as dict. All methods that write are overridden below.
Order is dict's, and it is the same in every process: a key written again keeps its place, a key deleted and
written again goes to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast, final, overload
from weakref import ref

from msgspec import inspect

from ...protocol.errors import NeverblinkError
from .dict_walk import DictWalk

__all__ = ["RowTypeError", "StateError", "Table", "TurnGuard", "check_row_type", "is_frozen"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")


class StateError(NeverblinkError):
    """The state was changed outside a turn, or holds a value that cannot be encoded; `field` names the part."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class RowTypeError(StateError, TypeError):
    """Values of a table's row type can change in place."""


class TurnGuard(Protocol):
    """Knows whether a turn is open, that is, whether the state may change now."""

    @property
    def open(self) -> bool: ...


@final
class _Absent:
    """Marks a `pop` without a default."""


_ABSENT: Final = _Absent()


class Table(dict[K, V]):
    """A dict of immutable rows that records its changes by key.

        class Book(msgspec.Struct):
            candles: Table[str, Candle] = msgspec.field(default_factory=Table)

    It can only be a direct field of the state. It reads and writes like a dict; a write outside a turn raises
    `StateError` at once, and so does a row that is not of the table's row type.
    """

    __slots__ = ("_walks", "guard", "name", "row", "touched")

    guard: TurnGuard | None
    """Decides whether writing is allowed; None always allows it. Set by the engine."""
    name: str
    """The name of its field, for messages. Set by the engine, as is `row`."""
    row: type[Any] | None
    """The class every row must be of; None when the row type is not a single class."""
    touched: dict[K, bool]
    """Keys written since `take`, in the order in which a follower has to write them; True: the key was deleted
    first.
    """

    # An empty table is a Table of anything, so that `default_factory=Table` needs no parameters under a strict checker.
    @overload
    def __init__(self: Table[Any, Any], /) -> None: ...
    @overload
    def __init__(self, rows: Mapping[K, V] | Iterable[tuple[K, V]], /) -> None: ...
    def __init__(self, rows: Mapping[K, V] | Iterable[tuple[K, V]] = (), /) -> None:
        super().__init__()
        self.guard = None
        self.name = ""
        self.row = None
        self.touched = {}
        self._walks: tuple[ref[DictWalk], ...] = ()
        """The walks in progress, which are notified of keys added and deleted."""
        self.update(rows)

    def take(self) -> dict[K, bool]:
        """Return `touched`, and clear it."""
        touched = self.touched
        self.touched = {}
        return touched

    def walk(self) -> DictWalk:
        """Begin a walk over the present keys. The table may change during the walk."""
        walk = DictWalk(self)
        self._walks = (*self._walks, ref(walk, self._walked))
        return walk

    def __setitem__(self, key: K, row: V) -> None:
        guard, expected, touched = self.guard, self.row, self.touched
        if guard is not None and not guard.open:
            raise self._closed()
        if expected is not None and type(row) is not expected:
            raise StateError(
                f"table {self.name}: the row for {key!r} is of type {type(row).__name__}, "
                f"expected {expected.__name__}",
                self.name,
            )
        if key not in self:
            # A new key goes to the end here, so it has to come last elsewhere too.
            touched[key] = touched.pop(key, False)
            for walking in self._walks:
                if (walk := walking()) is not None:
                    walk.added(key)
        elif key not in touched:
            touched[key] = False
        _write(self, key, row)

    def __delitem__(self, key: K) -> None:
        if self.guard is not None and not self.guard.open:
            raise self._closed()
        super().__delitem__(key)
        self.touched[key] = True
        for walking in self._walks:
            if (walk := walking()) is not None:
                walk.deleted(key)

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, default: V, /) -> V: ...
    @overload
    def pop(self, key: K, default: D, /) -> V | D: ...
    def pop(self, key: K, default: Any = _ABSENT, /) -> Any:
        if default is not _ABSENT and key not in self:
            return default
        row = self[key]
        del self[key]
        return row

    def popitem(self) -> tuple[K, V]:
        if not self:
            raise KeyError("popitem(): the table is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def setdefault(self, key: K, default: V, /) -> V:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the row at `key`; write `default` there first when there is none. There is no implied default."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, rows: Mapping[K, V] | Iterable[tuple[K, V]] = (), /
    ) -> None:
        """Write every row of a mapping or of pairs. No keyword arguments: a key is any value, not a name."""
        pairs: Iterable[tuple[K, V]]
        pairs = cast("Mapping[K, V]", rows).items() if isinstance(rows, Mapping) else rows
        for key, row in pairs:
            self[key] = row

    def __ior__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, rows: Mapping[K, V] | Iterable[tuple[K, V]], /
    ) -> Table[K, V]:
        self.update(rows)
        return self

    def __copy__(self) -> Table[K, V]:
        """A table of the same rows that belongs to no state yet."""
        return Table(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Table[K, V]:
        return Table(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Table, (dict(self),)

    def __repr__(self) -> str:
        return f"Table({super().__repr__()})"

    def _walked(self, finished: ref[DictWalk]) -> None:
        self._walks = tuple(walking for walking in self._walks if walking is not finished)

    def _closed(self) -> StateError:
        return StateError(
            f"table {self.name or '(unnamed)'} was written outside a turn: change state only in on_tick, "
            "on_event, on_timer, on_command or on_lead; from anywhere else put an event into the inbox",
            self.name,
        )


_write: Callable[[Any, Any, Any], None] = dict[Any, Any].__setitem__
_NO_CODECS: Mapping[type[Any], bool] = {}


def check_row_type(
    row_type: Any, table: str = "", part: str = "row", codecs: Mapping[type[Any], bool] = _NO_CODECS
) -> None:
    """Raise `RowTypeError` unless every value of `row_type` is immutable all the way down.

    The message names the row type (or, with `part`, the key's), the field, why it is refused and what to write
    instead. `codecs` are the classes that have a codec, and whether that says that their values never change.
    """
    root = getattr(row_type, "__name__", None) or str(row_type)
    where = f"table {table}: {part} type {root}" if table else f"{part} type {root}"
    found = _mutable(inspect.type_info(row_type), (), set(), codecs)
    if found is None:
        return
    path, what, mend = found
    field = ".".join(path)
    found_at = f"its field {field!r} is {what}" if field else f"it is {what}"
    raise RowTypeError(
        f"{where}: {found_at}, which can change in place unnoticed: {mend}",
        table,
    )


_SCALARS = frozenset(
    f"{kind}Type"
    for kind in (
        *("None", "Bool", "Int", "Float", "Str", "Bytes", "Decimal", "UUID", "Enum", "Literal"),
        *("DateTime", "Time", "Date", "TimeDelta"),
    )
)
_CONTAINERS = {
    "ListType": ("a list", "write tuple[X, ...]"),
    "CollectionType": ("a collection", "write tuple[X, ...]"),
    "SetType": ("a set", "write frozenset[X]"),
    "DictType": ("a dict", "write a frozen msgspec.Struct, or a tuple of pairs"),
    "TypedDictType": ("a TypedDict", "write a frozen msgspec.Struct"),
    "ByteArrayType": ("a bytearray", "write bytes"),
    "MemoryViewType": ("a memoryview", "write bytes"),
    "AnyType": ("of any type", "name the type it holds"),
    "RawType": ("raw bytes of another message", "write bytes"),
    "ExtType": ("an extension value", "write bytes"),
}

_Found = tuple[tuple[str, ...], str, str]


def _mutable(
    info: inspect.Type, path: tuple[str, ...], seen: set[type], codecs: Mapping[type[Any], bool]
) -> _Found | None:
    """The first part of a type that is mutable: its path, what it is, and the mend."""
    # Compared by name, because later versions of msgspec have more kinds than the oldest version we support.
    kind = type(info).__name__
    if isinstance(info, inspect.Metadata):
        return _mutable(info.type, path, seen, codecs)
    if kind in _SCALARS:
        return None
    if isinstance(info, (inspect.StructType, inspect.DataclassType, inspect.NamedTupleType)):
        return _mutable_record(info, path, seen, codecs)
    parts: Iterable[inspect.Type]
    if isinstance(info, inspect.UnionType):
        parts = info.types
    elif isinstance(info, inspect.TupleType):
        parts = info.item_types
    elif isinstance(info, (inspect.VarTupleType, inspect.FrozenSetType)):
        parts = (info.item_type,)
    elif kind == "FrozenDictType":
        parts = (cast(Any, info).key_type, cast(Any, info).value_type)
    elif kind in _CONTAINERS:
        return path, *_CONTAINERS[kind]
    else:
        return _mutable_custom(getattr(info, "cls", None), kind, path, codecs)
    return next((found for part in parts if (found := _mutable(part, path, seen, codecs))), None)


def _mutable_custom(
    cls: Any, kind: str, path: tuple[str, ...], codecs: Mapping[type[Any], bool]
) -> _Found | None:
    """A class that msgspec does not know: its codec decides."""
    frozen = codecs.get(cls)
    if frozen:
        return None
    name = getattr(cls, "__name__", kind)
    codec = f"codecs = [Codec({name}, encode, decode, frozen=True)]"
    if frozen is None:
        mend = f"write a frozen msgspec.Struct, or say how its values are encoded, and that they never change: {codec}"
        return path, f"{name}, a type msgspec does not know", mend
    mend = f"write a tuple or a frozen msgspec.Struct, or, where no code changes it in place, {codec}"
    return path, f"a {name}, whose codec does not say that it never changes", mend


def is_frozen(cls: type) -> bool:
    """Whether a dataclass, or a class of attrs, which msgspec takes for one, can't change in place."""
    parameters: Any = getattr(cls, "__dataclass_params__", None)
    if parameters is not None:
        return bool(parameters.frozen)
    # The only sign that all versions of attrs have in common.
    return getattr(cls.__setattr__, "__name__", "") == "_frozen_setattrs"


def _mutable_record(
    info: inspect.StructType | inspect.DataclassType | inspect.NamedTupleType,
    path: tuple[str, ...],
    seen: set[type],
    codecs: Mapping[type[Any], bool],
) -> _Found | None:
    cls = info.cls
    if cls in seen:
        return None
    seen.add(cls)
    name = cls.__name__
    if isinstance(info, inspect.StructType) and not cast(Any, cls).__struct_config__.frozen:
        return path, f"the struct {name}", f"write class {name}(msgspec.Struct, frozen=True)"
    if isinstance(info, inspect.DataclassType) and not is_frozen(cls):
        if hasattr(cls, "__attrs_attrs__"):
            return path, f"the attrs class {name}", f"write @attrs.frozen on {name}"
        return path, f"the dataclass {name}", f"write @dataclass(frozen=True) on {name}"
    for field in info.fields:
        if found := _mutable(field.type, (*path, field.name), seen, codecs):
            return found
    return None
