"""Makes text from outside safe to show, and checks names.

`protocol.text.clean` is used wherever bytes become text. `visible` is used wherever text is shown: it leaves nothing
that a terminal would interpret, or that would make one text look like another. Neither loses anything: characters that
cannot be shown become escapes.
"""

from __future__ import annotations

import re
import unicodedata

from ...protocol.text import clean, cleaned, escaped, is_encodable

__all__ = [
    "NAME_RULE",
    "ansi_removed",
    "clean",
    "cleaned",
    "is_encodable",
    "is_valid_name",
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
    r"""`text` with escapes (`\x1b`, `\u202e`) for characters that a terminal would interpret or hide, except `keep`."""
    if text.isprintable():
        return text
    return "".join(escaped(sign) if sign not in keep and _is_invisible(sign) else sign for sign in text)


def visible_in_place(text: str) -> str:
    """The same with one replacement character for each, so that the layout stays. Line ends stay."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if sign != "\n" and _is_invisible(sign) else sign for sign in text)


def visible_in_json(document: str) -> str:
    """A JSON document with terminal controls as JSON escapes: it decodes to the same value. Line ends stay."""
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


NAME_RULE = "up to 64 letters, digits, dots, dashes and underscores"
"""For error messages. The first character is a letter or a digit."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_valid_name(text: str) -> bool:
    """Whether `text` follows `NAME_RULE`. Such a name is also safe as a file name."""
    return _NAME.fullmatch(text) is not None
