"""Text and plain data from outside: made encodable, or refused.

Not every string can be written as UTF-8: Python represents bytes that are not UTF-8 (of an argument, a file name, a git
object) as surrogates. Such a string breaks JSON, msgpack and SQLite long after it came in. So it is cleaned at the
edge, or refused where a changed text would have another meaning.

An operator's JSON or msgpack cannot always be passed on: JSON has integers of any size, msgpack has NaN and keys of any
kind, and both can be nested deeper than the next reader supports. Such a value is refused where it comes in, with its
place.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from datetime import datetime
from typing import Any, cast

import msgspec

__all__ = [
    "DEEPEST",
    "DuplicateKey",
    "NotText",
    "clean",
    "cleaned",
    "decode_file",
    "escaped",
    "is_encodable",
    "problem_of",
    "refuse_duplicates",
]

_UNENCODABLE = re.compile("[\0\ud800-\udfff\ufdd0-\ufdef]")


def clean(raw: str | bytes) -> str:
    r"""Return `raw` as text that can be encoded. Bytes that are not UTF-8 become `\xe9`, also those that a string has
    as surrogates; other surrogates, NUL and noncharacters are escaped too.
    """
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return text if text.isprintable() else _UNENCODABLE.sub(lambda found: escaped(found[0]), text)


class NotText(ValueError):
    """The bytes of a file are not UTF-8 text; the message says what they are and what to do."""


_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def decode_file(data: bytes) -> str:
    """Return the text of a file written by hand on any system, without a UTF-8 byte order mark. Raises `NotText`."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise NotText(f"is {name}: save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data[:64]:
        raise NotText("is UTF-16 or binary: save it as UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        byte = f"byte 0x{data[problem.start]:02x} in line {line}"
        raise NotText(f"is not UTF-8 ({byte}): save it as UTF-8") from None


def cleaned(value: Any) -> Any:
    """Return a copy of a message with all text clean, in structs, lists, tuples and dicts."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, msgspec.Struct):
        return type(value)(**{name: cleaned(getattr(value, name)) for name in value.__struct_fields__})
    if isinstance(value, dict):
        return {cleaned(key): cleaned(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return type(cast("list[Any]", value))(cleaned(item) for item in cast("list[Any]", value))
    return value


def is_encodable(text: str) -> bool:
    """Whether `text` can be written as UTF-8. For names, which `clean` must not change."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(sign: str) -> str:
    r"""Escape one character: `\x1b`, `\u202e`; a surrogate that stands for a byte becomes that byte."""
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    short = _SHORT.get(sign)
    if short is not None:
        return short
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


DEEPEST = 64
"""The deepest nesting of lists and objects. Readers further on use a few more levels."""


_INTEGERS = range(-(2**63), 2**64)


class DuplicateKey(Exception):
    """A JSON object has the same key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(f'"{clean(key)}" is there twice')
        self.key = key


def problem_of(value: Any, name: str = "") -> str:
    """Return why `value`, named `name`, can't be passed on, with its place; "" when it can."""
    waiting: list[tuple[str, Any, int]] = [(name, value, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if depth >= DEEPEST:
                return f"{_short(name)} is nested too deeply: at most {DEEPEST} nested lists and objects"
            if isinstance(value, dict):
                for key, item in cast("dict[Any, Any]", value).items():
                    problem = _problem_of_key(key)
                    if problem:
                        return f"{f'a key of {name}' if name else 'a key'} {problem}"
                    waiting.append((f"{name}.{key}" if name else str(key), item, depth + 1))
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
        # The next reader reports the error.
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
