"""Whether a value that was read back is the one that was written: equal, and of the same types all the way down.

Python's own `==` is not enough: `defaultdict(list) == {}`, `1 == 1.0 == True`, and a time in Chicago equals the same
time in UTC. Each of these behaves differently in the next process. It is also too strict: NaN is not equal to itself.

A mutable object that stands in two places is a difference too. Bytes do not say that two lists are one, so the next
process has two. Only the value in memory can tell, so the comparison notes each mutable object that it passes.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, time, tzinfo
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, cast

import msgspec

from ..codecs.codec import BoundCodec
from ..codecs.collections_codec import same_default
from ..codecs.plain_values import plain_value
from .table import is_frozen

__all__ = ["Comparison", "Difference", "fields_of", "mutables", "places", "short"]


_NONE: Mapping[type[Any], BoundCodec] = {}


class Difference(NamedTuple):
    """The innermost place where two values differ. `path` follows the field's name, as in `['BTC'].price`."""

    path: str
    written: Any
    read: Any
    shared: str = ""
    """The other place at which the very same object stands; then `read` is not compared."""


class Comparison:
    """Compares values with what was read back of them.

    `encode` decides on types that Python's own comparison may not suit, such as arrays: two values with the same bytes
    are the same. `codecs` decide on values of their classes. `seen` has each mutable object passed so far: its id, and
    nothing else, so that it costs little.
    """

    def __init__(
        self, encode: Callable[[Any], bytes], codecs: Mapping[type[Any], BoundCodec] = _NONE
    ) -> None:
        self.seen: set[int] = set()
        self._codecs = codecs
        self._encode = encode

    def difference(self, written: Any, read: Any) -> Difference | None:
        """Where `read` is not what was written, None when it is."""
        kind = cast(Any, type(written))
        if kind is not type(read):
            # An int where a float is declared is one, as type checkers say too.
            same = kind is int and type(read) is float and written == read
            return None if same or _only_class_differs(written, read) else Difference("", written, read)
        if kind in _PLAIN:
            return None if written == read or _both_nan(written, read) else Difference("", written, read)
        if (found := self._note(written)) is not None:
            return found
        if issubclass(kind, defaultdict) and not same_default(written.default_factory, read.default_factory):
            return Difference("", written, read)
        if issubclass(kind, dict):
            return self._dicts(written, read)
        if issubclass(kind, deque) and written.maxlen != read.maxlen:
            return Difference("", written, read)
        if issubclass(kind, (list, tuple, deque)):
            if len(written) != len(read):
                return Difference("", written, read)
            return self._items(written, read, _place)
        if issubclass(kind, (set, frozenset)):
            return self._sets(written, read)
        if (codec := self._codecs.get(kind)) is not None:
            same = codec.equal(written, read) or self._encode(written) == self._encode(read)
            return None if same else Difference("", written, read)
        names = fields_of(kind)
        if names is not None:
            return self._fields(written, read, names)
        return None if self._same(written, read) else Difference("", written, read)

    def _note(self, written: Any) -> Difference | None:
        if not is_mutable(cast(Any, type(written))):
            return None
        if id(written) in self.seen:
            return Difference("", written, written, "elsewhere")
        self.seen.add(id(written))
        return None

    def _dicts(self, written: dict[Any, Any], read: dict[Any, Any]) -> Difference | None:
        if len(written) != len(read):
            return Difference("", written, read)
        # Their order is the same too: a dict is iterated in it.
        if (found := self._items(list(written), list(read), _key)) is not None:
            return found
        keys = list(written)
        return self._items(list(written.values()), list(read.values()), lambda at, _: f"[{short(keys[at])}]")

    def _items(
        self, written: Iterable[Any], read: Iterable[Any], place: Callable[[int, Any], str]
    ) -> Difference | None:
        kinds = list(map(type, written))
        if _PLAIN.issuperset(kinds) and kinds == list(map(type, read)) and written == read:
            # As fast as C can say it; only what is not plain, or differs, is looked at one by one.
            return None
        for at, (one, other) in enumerate(zip(written, read, strict=True)):
            if (found := self.difference(one, other)) is not None:
                return found._replace(path=place(at, one) + found.path)
        return None

    def _sets(self, written: Any, read: Any) -> Difference | None:
        if len(written) != len(read):
            return Difference("", written, read)
        known = {entry: entry for entry in written}
        missing = object()
        for other in read:
            one = known.get(other, missing)
            if one is missing:
                # NaN is never found.
                nan = other != other and any(item != item for item in known)
                if not nan:
                    return Difference("", written, read)
            elif (found := self.difference(one, other)) is not None:
                return found._replace(path=f" item {short(one)}" + found.path)
        return None

    def _fields(self, written: Any, read: Any, names: Iterable[str]) -> Difference | None:
        for name in names:
            one, other = getattr(written, name, _UNSET), getattr(read, name, _UNSET)
            if type(one) is type(other) and type(one) in _PLAIN and one == other:
                # As most are; so that a table's rows take little time.
                continue
            if (found := self.difference(one, other)) is not None:
                return found._replace(path=f".{name}{found.path}")
        return None

    def _same(self, written: Any, read: Any) -> bool:
        if isinstance(written, (datetime, time)):
            return written == read and _same_zone(written.tzinfo, read.tzinfo)
        if isinstance(written, Decimal):
            return written.as_tuple() == read.as_tuple()
        if isinstance(written, Enum):
            return written is read
        try:
            if bool(written == read):
                return True
        except Exception:
            # The class's own comparison may give what has no truth, as that of arrays does.
            pass
        return self._encode(written) == self._encode(read)


_PLAIN: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes})
_UNSET = object()
_UTC = frozenset({"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Etc/Universal", "Universal", "Zulu", "Etc/Zulu"})
_LONGEST = 60


def mutables(value: Any, ids: set[int]) -> Iterator[Any]:
    """The mutable objects in `value` that have one of these ids."""
    if id(value) in ids and is_mutable(cast(Any, type(value))):
        yield value
    for _, part in _parts(value):
        yield from mutables(part, ids)


def places(value: Any, wanted: Any, path: str = "") -> list[str]:
    """Where in `value` this very object is."""
    found = [path] if value is wanted else []
    for name, part in _parts(value):
        found += places(part, wanted, path + name)
    return found


@lru_cache(maxsize=1024)
def is_mutable(kind: Any) -> bool:
    """Whether values of this type can change in place."""
    if issubclass(kind, (dict, list, set, bytearray, deque)):
        return True
    if issubclass(kind, msgspec.Struct):
        return not cast(Any, kind).__struct_config__.frozen
    if issubclass(kind, Enum):
        return False
    if fields_of(kind) is not None:
        return not issubclass(kind, tuple) and not is_frozen(kind)
    # As arrays and models: what can change cannot be a key.
    return kind.__hash__ is None


@lru_cache(maxsize=1024)
def fields_of(kind: Any) -> tuple[str, ...] | None:
    """The fields of a record that travel, None for a type that is not a record."""
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    names = getattr(kind, "__dataclass_fields__", None)
    if names is None:
        attrs = getattr(kind, "__attrs_attrs__", None)
        names = [field.name for field in attrs] if attrs is not None else None
    # Those that begin with an underscore do not travel.
    return None if names is None else tuple(name for name in names if not name.startswith("_"))


def short(value: Any) -> str:
    """A value in a few characters, for a message."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        rows = cast("dict[Any, Any]", value)
        return [(f"[{short(key)}]", part) for key, part in rows.items()]
    if isinstance(value, (list, tuple, deque)):
        return [(f"[{at}]", part) for at, part in enumerate(cast("Iterable[Any]", value))]
    names = fields_of(cast(Any, type(value)))
    return [] if names is None else [(f".{name}", getattr(value, name, None)) for name in names]


def _only_class_differs(written: Any, read: Any) -> bool:
    """Whether a value of numpy or pandas is, but for its class, what its declared type made of it."""
    kind = cast(Any, type(written))
    if kind.__module__.partition(".")[0] not in ("numpy", "pandas"):
        return False
    try:
        plain = plain_value(written)
    except TypeError:
        return False
    same_kind = type(plain) is type(read) or (type(plain) is int and type(read) is float)
    return same_kind and bool(plain == read or _both_nan(plain, read))


def _both_nan(one: Any, other: Any) -> bool:
    return one != one and other != other


def _same_zone(one: tzinfo | None, other: tzinfo | None) -> bool:
    return one is other or one == other or (str(one) in _UTC and str(other) in _UTC)


def _place(at: int, _: Any) -> str:
    return f"[{at}]"


def _key(_: int, key: Any) -> str:
    return f" key {short(key)}"
