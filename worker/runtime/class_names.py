"""The names in a bot's class: handlers that take other arguments, names of neverblink's own, and likely typos.

A handler with a typo is never called, and a method with a name of neverblink's own replaces that one. Without these
checks, both are noticed only when the bot does not do what it should.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Iterator
from types import CodeType
from typing import Any, cast

__all__ = ["handler_problem", "name_warnings"]

_CLOSE = 0.8
"""How alike two names are for one to be a typo of the other, as `difflib` measures it."""


def handler_problem(cls: type, base: type, instance: object) -> str:
    """Why a handler of `cls`, a subclass of `base`, cannot be called, "" when all can. `instance` is of `cls`."""
    own = _own(cls, base)
    for name in _handlers(base):
        if name in own and (problem := _misfit(name, getattr(base, name), getattr(instance, name))):
            return problem
    return ""


def name_warnings(cls: type, base: type, instance: object, commands: Collection[str] = ()) -> tuple[str, ...]:
    """What is probably not meant: names of `base` in other use, and unused names that look like those of `base`.

    `commands` are the methods that operators call.
    """
    own = _own(cls, base)
    return (*_shadowed(own, base, vars(instance)), *_typos(own, base, commands))


def _shadowed(own: dict[str, Any], base: type, attributes: dict[str, Any]) -> Iterator[str]:
    reserved = _reserved(base)
    for name in {**own, **attributes}:
        if name in reserved and (name in attributes or not _extends(name, own[name])):
            yield f"{name} is a name of neverblink's own, and the bot replaces it: choose another name"


def _typos(own: dict[str, Any], base: type, commands: Collection[str]) -> Iterator[str]:
    used = {*_used(own.values()), *commands}
    known = [*_handlers(base), *_attributes(base)]
    for name, value in own.items():
        if name in used or name.startswith("_") or hasattr(base, name) or isinstance(value, type):
            continue
        handler = callable(_function(value))
        alike = [each for each in known if each.startswith("on_") == handler]
        near = difflib.get_close_matches(_snake(name), alike, n=1, cutoff=_CLOSE)
        if near:
            yield f"{name} {'is never called' if handler else 'is not used'}: did you mean {near[0]}?"


def _own(cls: type, base: type) -> dict[str, Any]:
    """What `cls` and its other bases define, by name."""
    own: dict[str, Any] = {}
    for each in reversed(cls.__mro__):
        if each not in base.__mro__:
            own |= vars(each)
    return own


def _handlers(base: type) -> list[str]:
    return [name for name in vars(base) if name.startswith("on_")]


def _attributes(base: type) -> list[str]:
    """What a bot declares, such as `tick`."""
    return [name for name in (*base.__annotations__, "settings") if not name.startswith("_")]


def _reserved(base: type) -> set[str]:
    kept = {*_handlers(base), *_attributes(base)}
    return {
        name
        for name in (*vars(base), *base.__annotations__)
        if not name.startswith("__") and name not in kept
    }


def _misfit(name: str, wanted: Any, handler: Any) -> str:
    """Why a handler cannot be called with what it gets, "" when it can."""
    parameters = list(inspect.signature(wanted).parameters)
    written = f"def {name}({', '.join(parameters)})"
    if not callable(handler):
        return f"{name} is {handler!r}: write {written}, or leave it out"
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*parameters[1:])
    except TypeError:
        return f"{name}{signature} does not take what it is called with: write {written}"
    return ""


def _extends(name: str, value: Any) -> bool:
    """Whether a method calls the one that it overrides."""
    function = _function(value)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    names = set(_names(code))
    return name in names and "super" in names


def _function(value: Any) -> Any:
    """What is called, without its decorators; None for what is not called by its name."""
    if isinstance(value, (staticmethod, classmethod)):
        value = cast("Any", value).__func__
    if isinstance(value, property):
        value = value.fget
    return inspect.unwrap(value) if callable(value) else None


def _used(values: Any) -> set[str]:
    """The names that the code of these methods mentions."""
    found: set[str] = set()
    for value in values:
        code = getattr(_function(value), "__code__", None)
        if isinstance(code, CodeType):
            found.update(_names(code))
    return found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _names(constant)


def _snake(name: str) -> str:
    """`onTick` as `on_tick`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
