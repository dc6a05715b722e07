"""Text from outside: made encodable where it comes in, and made harmless where people see it.

`clean` is for every edge at which bytes become text (git's output, arguments, the environment, /proc, file names). What
it returns can be encoded as UTF-8, so it fits into JSON, msgpack, SQLite and a socket. `visible` is for every edge at
which text becomes a picture: it leaves nothing that a terminal would obey, or that would make text look like another
text. Neither loses anything: what can't be shown is written as an escape.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["ansi_removed", "clean", "is_encodable", "visible", "visible_in_json", "visible_in_place"]

_UNENCODABLE = re.compile("[\0\ud800-\udfff\ufdd0-\ufdef]")
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's categories of controls, of format characters (bidirectional controls, zero widths, tags), of surrogates and
of separators of lines and paragraphs."""
_ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)|\x9b[0-?]*[ -/]*[@-~]")
_KEPT = "\n\t"


def clean(raw: str | bytes) -> str:
    r"""`raw` as text that can be encoded. Bytes that are not UTF-8 become `\xe9`, as do those that Python smuggled
    into a string as surrogates (arguments, file names); other surrogates, NUL and noncharacters become escapes too.
    """
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    return text if text.isprintable() else _UNENCODABLE.sub(lambda found: _escaped(found[0]), text)


def is_encodable(text: str) -> bool:
    """Whether `text` can be written as UTF-8: for names that must stay what they are, so that `clean` won't do."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def visible(text: str, keep: str = _KEPT) -> str:
    r"""`text` with everything that a terminal would obey or hide as an escape (`\x1b`, `\u202e`), but for `keep`."""
    if text.isprintable():
        return text
    return "".join(_escaped(sign) if sign not in keep and _is_invisible(sign) else sign for sign in text)


def visible_in_place(text: str) -> str:
    """The same with one replacement character for each, so that nothing moves. Line ends stay."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if sign != "\n" and _is_invisible(sign) else sign for sign in text)


def visible_in_json(document: str) -> str:
    """A JSON document with what a terminal would obey as JSON's own escapes: it means the same. Line ends stay."""
    if document.isprintable():
        return document
    return "".join(
        _json_escaped(sign) if sign not in _KEPT and _is_invisible(sign) else sign for sign in document
    )


def ansi_removed(text: str) -> str:
    """`text` without the escape sequences of a program that writes for a terminal."""
    return _ANSI.sub("", text) if "\x1b" in text or "\x9b" in text else text


def _is_invisible(sign: str) -> bool:
    return unicodedata.category(sign) in _INVISIBLE


def _escaped(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:
        # Python's own way to keep a byte that is not UTF-8 in a string.
        return f"\\x{code - 0xDC00:02x}"
    short = _SHORT.get(sign)
    if short is not None:
        return short
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def _json_escaped(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
