"""Durations as people write them: "250ms", "10s", "1h30m".

Inside, time is `int` nanoseconds; in configuration, command line and messages it is one of these texts. Numbers
without a unit are refused: taking 250 for seconds instead of milliseconds costs money.
"""

from __future__ import annotations

import re
from datetime import timedelta

from .errors import NeverblinkError

__all__ = ["SECOND", "DurationError", "about", "of", "parse", "show"]

SECOND = 1_000_000_000
"""ns."""

_NS = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": SECOND,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_WHOLE = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|d|h|m|s))+")
_PART = re.compile(r"([0-9]+)(?:\.([0-9]+))?(ns|us|ms|d|h|m|s)")
_LONGEST_TEXT = 64
_LIMIT = 2**63
"""Nanoseconds travel as 64-bit integers: about 292 years."""


class DurationError(NeverblinkError, ValueError):
    """A value that is not a duration; `value` is what was written, `why` the rest of the message."""

    def __init__(self, value: object, why: str) -> None:
        text = f'"{value}"' if isinstance(value, str) else repr(value)
        shown = text if len(text) <= _LONGEST_TEXT + 2 else text[:_LONGEST_TEXT] + "…"
        super().__init__(f"{shown} is not a duration: {why}")
        self.value = value
        self.why = why


def of(value: object) -> int:
    """The nanoseconds of a text, as `parse`, or of a `timedelta`. Raises `DurationError` for anything else."""
    if isinstance(value, timedelta):
        return (value.days * 86_400 + value.seconds) * SECOND + value.microseconds * 1000
    return parse(value)


def parse(text: object) -> int:
    """The nanoseconds that `text` names; a leading minus makes them negative.

    Parts run from the longest unit to the shortest (d, h, m, s, ms, us or µs, ns), each at most once, and only
    the last may have a fraction: "1h30m", "1.5s". Raises `DurationError`, which names the value and the mend, for
    another text and for anything that is not a text. A number has no unit, so it is refused.
    """
    if not isinstance(text, str):
        raise DurationError(text, _mend(str(text) if type(text) in (int, float) else ""))
    plain = text.strip().replace("µs", "us").replace("μs", "us")
    if len(plain) > _LONGEST_TEXT:
        raise DurationError(text, 'write something like "250ms", "10s" or "1h30m"')
    if not _WHOLE.fullmatch(plain):
        raise DurationError(text, _mend(plain))
    total = 0
    before = None
    for whole, fraction, unit in _PART.findall(plain):
        if before is not None and _NS[unit] >= _NS[before[1]]:
            raise DurationError(text, 'longer units come first, each once, as in "1h30m"')
        if before is not None and before[0]:
            raise DurationError(text, 'only the last part may have a fraction, as in "1m2.5s"')
        total += _nanoseconds(text, whole, fraction, unit)
        before = (fraction, unit)
    if total >= _LIMIT:
        raise DurationError(text, "it is longer than 292 years")
    return -total if plain.startswith("-") else total


def show(ns: int) -> str:
    """The shortest text that `parse` reads as exactly `ns`: "250ms", "83.2ms", "1m30s", "0s"."""
    if ns < 0:
        return "-" + show(-ns)
    if ns < _NS["m"]:
        unit = next((unit for unit in ("s", "ms", "us") if ns >= _NS[unit]), "ns" if ns else "s")
        return _decimal(ns, unit)
    text = ""
    for unit in ("d", "h", "m"):
        count, ns = divmod(ns, _NS[unit])
        if count:
            text += f"{count}{unit}"
    return text + (_decimal(ns, "s") if ns else "")


def about(ns: int) -> str:
    """`ns` for people, in three digits, and in whole seconds from a minute on: "506us", "1.25s", "1h2m5s"."""
    if abs(ns) >= _NS["m"]:
        return show(round(ns / _NS["s"]) * _NS["s"])
    return show(round(ns, min(0, 3 - len(str(abs(ns))))))


def _nanoseconds(text: str, whole: str, fraction: str, unit: str) -> int:
    scale = 10 ** len(fraction)
    value, rest = divmod(int(whole + fraction) * _NS[unit], scale)
    if rest:
        raise DurationError(text, "nothing is shorter than 1ns")
    return value


def _decimal(ns: int, unit: str) -> str:
    whole, rest = divmod(ns, _NS[unit])
    if not rest:
        return f"{whole}{unit}"
    digits = len(str(_NS[unit])) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0") + unit


def _mend(plain: str) -> str:
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", plain):
        return f'write its unit, as in "{plain}s" or "{plain}ms"'
    return 'write something like "250ms", "10s" or "1h30m" (units: d, h, m, s, ms, us, ns)'
