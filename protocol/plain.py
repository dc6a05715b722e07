"""Plain data: what an operator may send to a bot, checked before it is on its way.

What comes as JSON or msgpack can't always be passed on: JSON has integers of any size, msgpack has NaN and keys of any
kind, and both can be nested deeper than the next reader follows. Such a value is refused where it comes in, with its
place in words, and never on its way.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any, cast

from .text import clean, is_encodable

__all__ = ["DEEPEST", "DuplicateKey", "problem_of", "refuse_duplicates"]

DEEPEST = 64
"""Lists and objects in one another. Each reader on the way has a few calls of its own below that."""
_INTEGERS = range(-(2**63), 2**64)


class DuplicateKey(Exception):
    """A JSON object says the same key twice; which of the two is meant cannot be known."""

    def __init__(self, key: str) -> None:
        super().__init__(f'"{clean(key)}" is there twice')
        self.key = key


def problem_of(value: Any, name: str = "") -> str:
    """Why `value`, called `name`, can't be passed on: a sentence with its place, "" when it can."""
    waiting: list[tuple[str, Any, int]] = [(name, value, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if depth >= DEEPEST:
                return (
                    f"{_short(name)} is nested too deeply: at most {DEEPEST} lists and objects in one another"
                )
            if isinstance(value, dict):
                for key, one in cast("dict[Any, Any]", value).items():
                    problem = _problem_of_key(key)
                    if problem:
                        return f"{f'a key of {name}' if name else 'a key'} {problem}"
                    waiting.append((f"{name}.{key}" if name else str(key), one, depth + 1))
            else:
                waiting += [
                    (f"{name}[{place}]", one, depth + 1) for place, one in enumerate(cast("list[Any]", value))
                ]
            continue
        problem = _problem_of_scalar(value)
        if problem:
            return f"{_short(name)} {problem}"
    return ""


def refuse_duplicates(document: bytes) -> None:
    """Raise `DuplicateKey` when an object in a JSON document, which is known to be well formed, has a key twice."""
    try:
        json.loads(document, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        # The next reader reports what is wrong with it.
        return


def _unique(pairs: list[tuple[str, Any]]) -> None:
    known: set[str] = set()
    for key, _ in pairs:
        if key in known:
            raise DuplicateKey(key)
        known.add(key)


def _problem_of_key(key: Any) -> str:
    if isinstance(key, str):
        return "" if is_encodable(key) else f'("{clean(key)}") is not UTF-8'
    if isinstance(key, int) and not isinstance(key, bool):
        return "" if key in _INTEGERS else "is an integer of more than 64 bits"
    return f"is {type(key).__name__}: expected text"


def _problem_of_scalar(value: Any) -> str:
    match value:
        case None | bool() | bytes() | datetime():
            return ""
        case int():
            return "" if value in _INTEGERS else "is an integer of more than 64 bits: send it as text"
        case float():
            return "" if math.isfinite(value) else f"is {value}: expected a finite number"
        case str():
            return "" if is_encodable(value) else f'("{clean(value)}") is not UTF-8'
        case _:
            return f"is {type(value).__name__}: expected JSON's types"


def _short(name: str) -> str:
    return (name if len(name) <= 80 else f"{name[:80]}…") or "it"
