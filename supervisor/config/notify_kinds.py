"""The kinds of messages that a target of [notify] can ask for."""

from __future__ import annotations

from typing import Literal

__all__ = ["KINDS", "USUAL", "Kind"]

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
    "failover": "a leader died: the new leader, and the missed ticks",
    "missed": "ticks were missed, in an outage or in a handoff, and in which windows",
    "down": "no worker leads for more than a moment; a worker leads again",
    "slow": "the leader makes no progress; it does again",
    "journal": "the journal cannot be written; it is written again; it was damaged",
    "supervisor": "a supervisor adopted its bot, or ends; its files were removed, or are a copy",
    "standby": "the standby died too often, and restarts are now rare",
    "halt": "the bot was halted",
    "settings": "its settings were changed",
    "pause": "it was paused or resumed",
    "lock": "deployments were locked or unlocked",
}
"""Each kind, and when there is a note of it."""


USUAL: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("pause", "lock"))
"""What a target gets that names no kinds."""
