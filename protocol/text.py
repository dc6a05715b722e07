"""Text that can be encoded, made of whatever came from outside.

Not every string can be written as UTF-8: Python smuggles bytes that are not UTF-8 (of an argument, a file name, a git
object) into strings as surrogates. Such a string breaks JSON, msgpack and SQLite wherever it ends up, long after it
came in. So it is cleaned at the edge, or refused where another text would mean another thing.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

__all__ = ["clean", "cleaned", "escaped", "is_encodable"]

_UNENCODABLE = re.compile("[\0\ud800-\udfff\ufdd0-\ufdef]")


def clean(raw: str | bytes) -> str:
    r"""`raw` as text that can be encoded. Bytes that are not UTF-8 become `\xe9`, as do those that Python smuggled
    into a string as surrogates; other surrogates, NUL and noncharacters become escapes too.
    """
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return text if text.isprintable() else _UNENCODABLE.sub(lambda found: escaped(found[0]), text)


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
