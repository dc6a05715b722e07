"""Every type within a declared type, with its parameters.

msgspec's own description of a type leaves out the parameters of a class that it does not know: it describes
`deque[float]` as `deque`. A codec needs them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, cast

import msgspec
from msgspec import inspect

__all__ = ["class_of", "custom_hints", "has_fields", "plain_hint", "union_members"]


def plain_hint(hint: Any) -> Any:
    """A type without `Annotated`, and the type that an alias or a NewType stands for."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif _is_alias(hint):
            hint = hint.__value__
        elif _is_alias(origin := typing.get_origin(hint)):
            hint = _filled(origin.__value__, typing.get_args(hint))
        else:
            return hint


def _is_alias(hint: Any) -> bool:
    # `type X = …` needs Python 3.12.
    return type(hint).__name__ == "TypeAliasType"


def _filled(generic: Any, arguments: tuple[Any, ...]) -> Any:
    """The type of a generic alias with its parameters replaced."""
    try:
        return generic[arguments]
    except TypeError:
        # The alias does not use its parameters.
        return generic


def class_of(hint: Any) -> type[Any] | None:
    """The class of a type: `deque` of `deque[float]`. None for a union, Any and the like."""
    if _is_union(hint):
        return None
    origin = typing.get_origin(hint) or hint
    return cast("type[Any]", origin) if isinstance(origin, type) else None


def union_members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    hint = plain_hint(hint)
    return tuple(map(plain_hint, typing.get_args(hint))) if _is_union(hint) else (hint,)


def custom_hints(hint: Any) -> Iterator[Any]:
    """Every type within `hint` that msgspec does not know, with its parameters; each once. Not what is within those."""
    yield from _walk(hint, set())


def _walk(hint: Any, seen: set[Any]) -> Iterator[Any]:
    hint = plain_hint(hint)
    try:
        if hint in seen:
            return
        seen.add(hint)
    except TypeError:
        return  # A parameter that cannot be hashed, such as the list of a Callable.
    if typing.get_origin(hint) is Literal:
        return
    cls: Any = class_of(hint)
    if cls is not None and _is_custom(cls):
        yield hint
        return
    for part in typing.get_args(hint):
        yield from _walk(part, seen)
    if cls is not None and has_fields(cls):
        for part in typing.get_type_hints(cls, include_extras=True).values():
            yield from _walk(part, seen)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _is_custom(cls: type[Any]) -> bool:
    if cls is object or cls is type(None) or has_fields(cls):
        return False
    try:
        return isinstance(inspect.type_info(cls), inspect.CustomType)
    except (TypeError, NameError):
        return False


def has_fields(cls: Any) -> bool:
    """Whether msgspec takes values of a class as records of fields."""
    return bool(
        issubclass(cls, msgspec.Struct)
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__attrs_attrs__")
        or typing.is_typeddict(cls)
        or (tuple in cls.__mro__ and hasattr(cls, "_fields"))
    )
