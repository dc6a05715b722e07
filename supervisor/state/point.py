"""A point of the bot's life, as a person writes it.

`now`, a tick's index (`1795533`), a time (`09:00`, `2026-11-24T09:00:00`, `10m` for ten minutes ago), a frame
(`frame:812`), a decision's id (the state it was taken in), or a release (the state it left, or has now).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from ...protocol.errors import NeverblinkError
from ..audit.scope import Moment, Seq, parse_bound

__all__ = ["BadPoint", "InDecision", "Now", "Number", "Point", "ReleasePoint", "parse_point"]


class Now(msgspec.Struct, frozen=True):
    """The newest state that the journal has."""


class Number(msgspec.Struct, frozen=True):
    """The state as of a frame."""

    value: int


class InDecision(msgspec.Struct, frozen=True):
    """The state in which a decision was taken: that of the last boundary before it."""

    id: str
    seq: int
    """The tick that its id names."""


class ReleasePoint(msgspec.Struct, frozen=True):
    """The last state that a release left; `leads`: it leads now."""

    release: str
    leads: bool = False


Point = Now | Seq | Moment | Number | InDecision | ReleasePoint


class BadPoint(NeverblinkError):
    """A point that is not written as one."""


_FRAME = re.compile(r"frame:(\d{1,18})")
_DECISION = re.compile(r"\d+-(\d{1,18})-\d+")


def parse_point(text: str, now: int, release: Callable[[str], ReleasePoint | None]) -> Point:
    """The point that `text` names, as of wall time `now` (ns). `release` finds a release that is kept, by its id, the
    beginning of it, or as "current" and "previous". Raises `BadPoint`, and what `release` raises.
    """
    text = text.strip()
    if text in ("", "now"):
        return Now()
    if found := _FRAME.fullmatch(text):
        return Number(int(found[1]))
    # Before the times: the id of a release begins with one.
    if not text.isdecimal() and (led := release(text)):
        return led
    bound = parse_bound(text, now)
    if bound is not None:
        if isinstance(bound, Moment) and bound.value > now:
            raise BadPoint(f"{text} lies in the future: name a time that has been")
        return bound
    if found := _DECISION.fullmatch(text):
        return InDecision(text, int(found[1]))
    raise BadPoint(
        f"{text!r} is not a point of the bot's life: expected now, a tick's index, a time such as 09:00 or 10m (ago), "
        "frame:NUMBER, a decision's id, or a release (see `neverblink releases`)"
    )
