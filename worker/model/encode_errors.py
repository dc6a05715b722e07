"""Finding the value that cannot be encoded.

The encoder names the type of the value, not where it is. So after a failed encoding, when speed does not matter, the
value is taken apart until a part fails whose own parts do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from ...protocol.wire import NOT_ENCODABLE

__all__ = ["find_unencodable", "reason_of"]

_DEEPEST = 50


def reason_of(problem: BaseException) -> str:
    """An exception as its type and text."""
    try:
        text = str(problem)
    except Exception:
        # The exception's class may be the bot's own, with a faulty `__str__`.
        text = ""
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def find_unencodable(
    value: Any, path: str, encode: Callable[[Any], bytes], around: tuple[Any, ...] = ()
) -> tuple[str, Any, str] | None:
    """Return the innermost part of `value` that can't be encoded: its path, the part, and why.

    `around` are the values that contain it, outermost first.
    """
    if any(value is outer for outer in around):
        return path, value, "it contains itself"
    try:
        encode(value)
    except NOT_ENCODABLE as problem:
        why = str(problem)
    else:
        return None
    for name, part in _parts(value) if len(around) < _DEEPEST else ():
        if found := find_unencodable(part, path + name, encode, (*around, value)):
            return found
    return path, value, why


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return [(f" key {key!r}", key) for key, _ in items] + [(f"[{key!r}]", part) for key, part in items]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{index}]", part) for index, part in enumerate(cast("Iterable[Any]", value))]
    names = getattr(value, "__struct_fields__", None) or getattr(value, "__dataclass_fields__", None)
    if names is None:
        names = [field.name for field in getattr(value, "__attrs_attrs__", ())]
    return [(f".{name}", getattr(value, name)) for name in names if hasattr(value, name)]
