"""What people are told: one note, and the kinds of things that there are notes about."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..config.notify_kinds import Kind

__all__ = ["Level", "Note"]

Level = Literal["info", "success", "warning", "failure"]


class Note(msgspec.Struct, frozen=True):
    """A message. It has each of `kinds`: a target that wants one of them gets it."""

    kinds: tuple[Kind, ...]
    level: Level
    title: str
    text: str
    at: int
    """When it happened, wall clock, ns."""
    key: str = ""
    """One that waits is replaced by a later one with the same key; one that was sent is not sent again."""
    hold: int = 0
    """For so long (ns) it waits: perhaps it will be replaced, or be pointless."""
    over: str = ""
    """The key of a note that this one makes pointless, if it still waits,"""
    only_after: bool = False
    """and then there is nothing to tell at all."""
