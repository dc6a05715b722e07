"""deque, defaultdict, OrderedDict and Counter.

Each is what it is called in the bytes too: a list or a map, so that a field can become one of these, or stop being one,
without a migration. Only a deque with a bound is more than its items.
"""

from __future__ import annotations

import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Generic, TypeVar, cast

import msgspec

from .codec import BoundCodec, CodecError
from .hints import class_of, has_fields, plain_hint, union_members

__all__ = ["bind", "same_default"]

T = TypeVar("T")

_MADE_WITHOUT_ARGUMENTS = frozenset(
    {int, float, str, bytes, bool, list, dict, set, frozenset, Decimal, deque, Counter, OrderedDict}
)


class BoundedItems(msgspec.Struct, Generic[T]):
    """A deque with a bound."""

    maxlen: int
    items: list[T]


def bind(hint: Any, default: Any) -> BoundCodec | None:
    """The codec of a type of `collections`. `default` is a value that the field has by default, None if unknown.

    Raises `CodecError` for a defaultdict of which nothing says what it makes of a missing key.
    """
    args: tuple[Any, ...] = typing.get_args(hint)
    cls: Any = class_of(hint)
    if cls is deque:
        item = args[0] if args else Any
        wire = list[item] | BoundedItems[item] if item is not Any else list[Any] | BoundedItems[Any]
        return BoundCodec("deque", deque, wire, _from_deque, _to_deque, _equal_deques)
    if cls is Counter:
        return BoundCodec(
            "Counter", Counter, dict[args[0] if args else Any, int | float], dict, Counter, _equal
        )
    key, value = args if len(args) == 2 else (Any, Any)
    if cls is OrderedDict:
        return BoundCodec("OrderedDict", OrderedDict, dict[key, value], dict, OrderedDict, _equal)
    if cls is defaultdict:
        factory = _factory_of_default(default) or _factory(value)
        if factory is None:
            raise CodecError(
                f"{_name(hint)} does not say what a missing key becomes, as {_name(value)} cannot be made without "
                "arguments: give its fields defaults, or give the state's own field a default_factory that returns a "
                "defaultdict"
            )
        return BoundCodec(
            "defaultdict",
            defaultdict,
            dict[key, value],
            dict,
            _defaulting(factory),
            _equal_defaultdicts,
        )
    return None


def _from_deque(value: deque[Any]) -> Any:
    return list(value) if value.maxlen is None else BoundedItems(value.maxlen, list(value))


def _to_deque(data: Any) -> deque[Any]:
    if isinstance(data, BoundedItems):
        bounded = cast("BoundedItems[Any]", data)
        return deque(bounded.items, bounded.maxlen)
    return deque(data)


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _equal_deques(one: Any, other: Any) -> bool:
    return _equal(one, other) and one.maxlen == other.maxlen


def _equal_defaultdicts(one: Any, other: Any) -> bool:
    return _equal(one, other) and same_default(one.default_factory, other.default_factory)


def same_default(one: Callable[[], Any] | None, other: Callable[[], Any] | None) -> bool:
    """Whether two factories of a defaultdict make the same of a missing key."""
    if one is other:
        return True
    if one is None or other is None:
        return False
    made, wanted = one(), other()
    if isinstance(made, defaultdict) and isinstance(wanted, defaultdict):
        return _equal_defaultdicts(made, wanted)
    return _equal(made, wanted)


def _factory_of_default(default: Any) -> Callable[[], Any] | None:
    return cast("defaultdict[Any, Any]", default).default_factory if type(default) is defaultdict else None


def _factory(hint: Any) -> Callable[[], Any] | None:
    """What makes the value of a missing key, from the declared type of the values; None when nothing does."""
    hint = plain_hint(hint)
    cls: Any = class_of(hint)
    args = typing.get_args(hint)
    if len(union_members(hint)) > 1 or cls is None:
        return None
    if cls in _MADE_WITHOUT_ARGUMENTS:
        return cls
    if cls is tuple and (not args or args[-1] is ...):
        return tuple
    if cls is defaultdict and len(args) == 2:
        inner = _factory(args[1])
        return _defaulting(inner) if inner is not None else None
    if has_fields(cls):
        try:
            cls()
        except TypeError:
            return None
        return cls
    return None


def _defaulting(factory: Callable[[], Any]) -> Callable[..., Any]:
    """What makes a defaultdict with this factory."""
    return cast("Callable[..., Any]", partial(defaultdict, factory))


def _name(hint: Any) -> str:
    cls = class_of(hint)
    args = typing.get_args(hint)
    name = cls.__name__ if cls is not None else str(hint)
    return f"{name}[{', '.join(map(_name, args))}]" if cls is not None and args else name
