"""Text from outside, made harmless where people see it.

`protocol.text.clean` is for every edge at which bytes become text. `visible` is for every edge at which text becomes a
picture: it leaves nothing that a terminal would obey, or that would make text look like another text. Neither loses
anything: what can't be shown is written as an escape.
"""

from __future__ import annotations

import re
import unicodedata

from ...protocol.text import clean, cleaned, escaped, is_encodable

__all__ = [
    "ansi_removed",
    "clean",
    "cleaned",
    "is_encodable",
    "visible",
    "visible_in_json",
    "visible_in_place",
]

_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's categories of controls, of format characters (bidirectional controls, zero widths, tags), of surrogates and
of separators of lines and paragraphs."""
_ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)|\x9b[0-?]*[ -/]*[@-~]")
_KEPT = "\n\t"


def visible(text: str, keep: str = _KEPT) -> str:
    r"""`text` with everything that a terminal would obey or hide as an escape (`\x1b`, `\u202e`), but for `keep`."""
    if text.isprintable():
        return text
    return "".join(escaped(sign) if sign not in keep and _is_invisible(sign) else sign for sign in text)


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


def _json_escaped(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
