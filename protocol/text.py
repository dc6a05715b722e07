"""Text that can be encoded, made of whatever came from outside.

Not every string can be written as UTF-8: Python smuggles bytes that are not UTF-8 (of an argument, a file name, a git
object) into strings as surrogates. Such a string breaks JSON, msgpack and SQLite wherever it ends up, long after it
came in. So it is cleaned at the edge, or refused where another text would mean another thing.
"""

from __future__ import annotations

import codecs
import re
from typing import Any, cast

import msgspec

__all__ = ["NotText", "clean", "cleaned", "decode_file", "escaped", "is_encodable"]

_UNENCODABLE = re.compile("[\0\ud800-\udfff\ufdd0-\ufdef]")


def clean(raw: str | bytes) -> str:
    r"""`raw` as text that can be encoded. Bytes that are not UTF-8 become `\xe9`, as do those that Python smuggled
    into a string as surrogates; other surrogates, NUL and noncharacters become escapes too.
    """
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return text if text.isprintable() else _UNENCODABLE.sub(lambda found: escaped(found[0]), text)


class NotText(ValueError):
    """The bytes of a file are not text in UTF-8; the message says what they are and what to do."""


_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def decode_file(data: bytes) -> str:
    """The text of a file that was written by hand, on any system: a byte order mark of UTF-8 does not belong to it, and
    lines end in any way. Raises `NotText`.
    """
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
    """A copy of a message in which every text is clean: structs, lists, tuples and dicts are looked through."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, msgspec.Struct):
        return type(value)(**{name: cleaned(getattr(value, name)) for name in value.__struct_fields__})
    if isinstance(value, dict):
        return {cleaned(key): cleaned(one) for key, one in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return type(cast("list[Any]", value))(cleaned(one) for one in cast("list[Any]", value))
    return value


def is_encodable(text: str) -> bool:
    """Whether `text` can be written as UTF-8: for names that must stay what they are, so that `clean` won't do."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(sign: str) -> str:
    r"""One character as an escape: `\x1b`, `\u202e`; a byte that Python smuggled into a string as that byte."""
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    short = _SHORT.get(sign)
    if short is not None:
        return short
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
