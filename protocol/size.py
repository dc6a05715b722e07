"""Sizes as people write them: "64MiB", "1.5GiB". Inside, a size is an `int` number of bytes."""

from __future__ import annotations

import re
from fractions import Fraction

from .errors import NeverblinkError

__all__ = ["SizeError", "parse", "show"]

_BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_UNITS = {unit.lower(): size for unit, size in _BYTES.items()}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]+)", re.ASCII | re.IGNORECASE)
_LONGEST_TEXT = 32
_LIMIT = 2**63


class SizeError(NeverblinkError, ValueError):
    """A text that is not a size; `value` is what was written."""

    def __init__(self, value: str, why: str) -> None:
        shown = value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "…"
        super().__init__(f'"{shown}" is not a size: {why}')
        self.value = value


def parse(text: str) -> int:
    """The bytes that `text` names: a number and a unit, in whichever case. Raises `SizeError` with the mend."""
    plain = text.strip()
    found = _SIZE.fullmatch(plain) if len(plain) <= _LONGEST_TEXT else None
    if found is None or found[2].lower() not in _UNITS:
        raise SizeError(
            text, 'write something like "16MiB" or "1.5GB" (units: B, kB, MB, GB, TB, KiB, MiB, …)'
        )
    size = Fraction(found[1]) * _UNITS[found[2].lower()]
    if size.denominator != 1:
        raise SizeError(text, "it is not a whole number of bytes")
    if size >= _LIMIT:
        raise SizeError(text, "it is larger than any file can be")
    return int(size)


def show(size: int) -> str:
    """The shortest text that `parse` reads as exactly `size`, which is not negative: "16MiB", "1500B"."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= _BYTES[unit] and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"
