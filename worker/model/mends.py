"""What an author can do about a value that does not survive: one sentence for each kind of value."""

from __future__ import annotations

import enum
import types
import typing
from collections import Counter, OrderedDict, defaultdict
from datetime import datetime, time
from typing import Any, cast

from .same_value import short

__all__ = [
    "article",
    "described",
    "mend_for_difference",
    "mend_for_shared",
    "mend_for_unencodable",
    "type_name",
]

_STATE_TYPES = frozenset({bool, int, float, str, bytes, dict, list, tuple, set, frozenset})
_CONVERSIONS: tuple[type, ...] = (bool, int, float, str, bytes)


def type_name(hint: Any) -> str:
    """A declared type as its author wrote it, without modules."""
    if hint is None or hint is type(None):
        return "None"
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return type_name(args[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(type_name, args))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is not None:
        inside = ", ".join("..." if arg is ... else type_name(arg) for arg in args)
        return f"{getattr(origin, '__name__', origin)}[{inside}]"
    return getattr(hint, "__name__", None) or str(hint)


def described(value: Any) -> str:
    """A value with its type, shortened: `1.5 (numpy.float64)`."""
    if value is None:
        return "None"
    return f"{short(value)} ({_kind(cast(Any, type(value)))})"


def mend_for_difference(written: Any, read: Any, declared: Any) -> str:
    """What to do where `written` reads back as `read`. `declared`: the type of the whole field."""
    kind = cast(Any, type(written))
    if isinstance(written, (datetime, time)) and type(read) is kind:
        return (
            "a time with a zone comes back in UTC: write x.astimezone(UTC), and keep the zone's name in a str"
        )
    if isinstance(written, defaultdict) and type(read) is defaultdict:
        return "its default_factory is another one than its type declares: use the declared one"
    if isinstance(written, defaultdict):
        return "a defaultdict becomes a plain dict: declare defaultdict[str, int], or use setdefault()"
    if isinstance(written, Counter):
        return "a Counter becomes a plain dict: declare Counter[str], or use a dict and get(key, 0)"
    if isinstance(written, OrderedDict):
        return "an OrderedDict becomes a plain dict, which keeps its order: use one, or declare OrderedDict[str, int]"
    becomes = f"{article(kind.__name__)} becomes {article(type(read).__name__)}"
    if kind is type(read):
        return f"it becomes {short(read)}: write a value that its type holds exactly"
    base = next((base for base in kind.__mro__[1:] if base is type(read)), None)
    if base is not None and base is not object:
        return f"{becomes}: write {base.__name__}(x)"
    said = type_name(declared)
    if declared in (dict, list, tuple, set, object) or "Any" in said:
        return f"{becomes}: declare {kind.__name__} there, because {said} does not say which type to read"
    return f"{becomes}: write {article(type(read).__name__)}, or declare {kind.__name__} there"


def mend_for_shared(value: Any) -> str:
    """What to do about one mutable object in two places."""
    copied = {list: "list(x)", dict: "dict(x)", set: "set(x)"}.get(cast(Any, type(value)), "copy.copy(x)")
    return (
        f"write a copy in one of the places, {copied}, or keep it in one place and look it up from the other"
    )


def mend_for_unencodable(value: Any, why: str) -> str:
    """What to do about a value that does not go into bytes. `why`: what the encoder says of it."""
    kind = cast(Any, type(value))
    if kind.__module__.partition(".")[0] == "numpy":
        if hasattr(kind, "tolist") and getattr(value, "ndim", 0):
            return "write x.tolist(), or keep what rebuilds it and build it in on_load"
        return "write x.item(), which is the plain Python value"
    if isinstance(value, datetime):
        return "write x.to_pydatetime()" if hasattr(kind, "to_pydatetime") else "write a plain datetime"
    if not isinstance(value, enum.Enum) and kind not in _STATE_TYPES:
        for base in _CONVERSIONS:
            if isinstance(value, base):
                return f"write {base.__name__}(x)"
    if type(value) in _STATE_TYPES:
        # The type is right, and this value of it is not: too large, nested too deeply, or with itself inside.
        return f"write another value ({why})"
    return f"keep what rebuilds it (a msgspec.Struct, numbers, text) and build it in on_load ({why})"


def article(name: str) -> str:
    """A type's name with its article."""
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def _kind(kind: Any) -> str:
    module = kind.__module__.partition(".")[0]
    return kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__name__}"
