"""Formats times, sizes and counts for people, with three significant digits. Programs get integers."""

from __future__ import annotations

import time

from ...protocol.duration import SECOND

__all__ = ["ago", "clock", "count", "last", "size"]

_LONG = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def last(ns: int) -> str:
    """A stretch of time: `0.21 ms`, `84 ms`, `3.1 s`, `2m03s`, `3h12m`."""
    if ns < 0:
        return "-" + last(-ns)
    if ns < 1_000_000:
        return f"{ns / 1e6:.2g} ms" if ns >= 1000 else f"{ns} ns" if ns else "0 ms"
    if ns < SECOND:
        return f"{ns / 1e6:.3g} ms" if ns < 999_500_000 else "1 s"
    if ns < 60 * SECOND:
        return f"{ns / 1e9:.3g} s" if ns < 59_950_000_000 else "1m00s"
    seconds = ns // SECOND
    big, small = next((i, i + 1) for i, (_, length) in enumerate(_LONG) if seconds >= length)
    (first, length), (second, part) = _LONG[big], _LONG[small]
    return f"{seconds // length}{first}{seconds % length // part:02d}{second}"


def ago(at: int, now: int) -> str:
    """When something was, seen from `now` (both wall ns): `12s ago`, `just now`."""
    return "just now" if now - at < 2 * SECOND else f"{last((now - at) // SECOND * SECOND)} ago"


def clock(at: int) -> str:
    """A wall time in the user's zone: `14:05:09` today, with the date otherwise."""
    moment = time.localtime(at / 1e9)
    today = time.localtime()
    pattern = "%H:%M:%S" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M:%S"
    return time.strftime(pattern, moment)


def size(bytes: int) -> str:
    """`312 B`, `1.2 MB`."""
    value = float(bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            return f"{bytes} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def count(n: int, thing: str, things: str = "") -> str:
    """A count with its noun: `1 row`, `12,000 rows`, `2 deploys`."""
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"
