"""What people are told: one note, and the kinds of things that there are notes about."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["KINDS", "USUAL", "Kind", "Level", "Note"]

Level = Literal["info", "success", "warning", "failure"]

Kind = Literal[
    "deployed",
    "aborted",
    "rolled-back",
    "failover",
    "missed",
    "down",
    "slow",
    "journal",
    "standby",
    "supervisor",
    "halt",
    "settings",
    "pause",
    "lock",
]

KINDS: dict[Kind, str] = {
    "deployed": "a deployment or a rollback is done",
    "aborted": "a deployment was aborted; the old code leads",
    "rolled-back": "the new code led, and the old code leads again",
    "failover": "a leader died: who leads since, and what was missed",
    "missed": "ticks were missed, in an outage or in a handoff, and in which windows",
    "down": "nobody leads for more than a moment; somebody leads again",
    "slow": "the leader does not do its work; it does again",
    "journal": "the journal cannot be written; it is written again; it was damaged",
    "supervisor": "a supervisor came back to its bot, or leaves; its files were removed, or are a copy",
    "standby": "the standby died too often, and is started again only now and then",
    "halt": "somebody halted the bot",
    "settings": "somebody changed its settings",
    "pause": "somebody paused or resumed it",
    "lock": "somebody locked or unlocked deployments",
}
"""Each kind, and when there is a note of it."""

USUAL: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("pause", "lock"))
"""What a target gets that does not say what it wants."""


class Note(msgspec.Struct, frozen=True):
    """Something to tell. It is of each of `kinds`: whoever wants one of them gets it."""

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
