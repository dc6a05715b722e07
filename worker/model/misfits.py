"""Finding the value that cannot be read as its declared type.

The decoder says what it expected and names the place with `[...]` for every key, and not which value it was. Only once
a decoding has failed, so it may take its time: the value is taken apart along its type.
"""

from __future__ import annotations

import types
import typing
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

from ...protocol.wire import NOT_ENCODABLE, UNDECODABLE
from .same_value import fields_of, short

__all__ = ["find_misfit"]


def find_misfit(
    value: Any, hint: Any, encode: Callable[[Any], bytes], decode_as: Callable[[bytes, Any], Any]
) -> tuple[str, Any, Any] | None:
    """The innermost part of `value` that does not read back as its type: its path, itself, and that type.

    None when all of it does.
    """
    try:
        decode_as(encode(value), hint)
    except (*UNDECODABLE, *NOT_ENCODABLE):
        pass
    else:
        return None
    for name, part, part_hint in _parts(value, hint):
        if found := find_misfit(part, part_hint, encode, decode_as):
            return name + found[0], found[1], found[2]
    return "", value, hint


def _parts(value: Any, hint: Any) -> Iterator[tuple[str, Any, Any]]:
    """The parts of a value with their declared types, as far as those are plain to see."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    whole = cast("list[Any]", value)
    kind = cast(Any, type(value))
    if origin is typing.Annotated:
        yield from _parts(value, args[0])
    elif origin in (typing.Union, types.UnionType):
        fitting = [arg for arg in args if _is_of(value, arg)]
        if len(fitting) == 1:
            yield from _parts(value, fitting[0])
    elif isinstance(value, dict) and len(args) == 2:
        rows = cast("dict[Any, Any]", value)
        yield from ((f" key {short(key)}", key, args[0]) for key in rows)
        yield from ((f"[{short(key)}]", part, args[1]) for key, part in rows.items())
    elif isinstance(value, tuple) and args and args[-1] is not ...:
        parts = zip(cast("tuple[Any, ...]", value), args, strict=False)
        yield from ((f"[{at}]", part, arg) for at, (part, arg) in enumerate(parts))
    elif kind in (list, tuple, set, frozenset, deque) and args:
        yield from ((f"[{at}]", item, args[0]) for at, item in enumerate(whole))
    elif hint is kind and (names := fields_of(kind)):
        hints = typing.get_type_hints(kind, include_extras=True)
        record = cast(Any, whole)
        yield from ((f".{name}", getattr(record, name), hints[name]) for name in names if name in hints)


def _is_of(value: Any, hint: Any) -> bool:
    kind = typing.get_origin(hint) or hint
    return isinstance(kind, type) and isinstance(value, kind)
