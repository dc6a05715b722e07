"""What the demo does to the bot, act by act, and what has to come of each."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["ACTS", "Act", "Played"]


class Act(msgspec.Struct, frozen=True):
    """One deployment. `version` is deployed, or gone back to; `leads` is the version that has to lead afterwards."""

    version: str
    title: str
    outcome: str
    leads: str
    because: str = ""
    """What the reason has to name: failing for another reason would prove nothing."""
    back: bool = False
    """A rollback instead of a deploy."""


ACTS = (
    Act("v2", "a good change", "done", "v2"),
    Act("v3", "a new state schema", "done", "v3"),
    Act("v4", "does not import", "aborted", "v3", "indicators"),
    Act("v5", "hangs while it starts", "aborted", "v3", "not ready in time"),
    Act("v6", "cannot read the state", "aborted", "v3", "daily_loss"),
    Act("v7", "crashes on its third tick", "rolled_back", "v3", "index out of range"),
    Act("v2", "with the state as it is now", "done", "v2", back=True),
)


class Played(msgspec.Struct, frozen=True):
    """An act as it went: the exit code and the JSON object of the verb."""

    act: Act
    exit: int
    result: dict[str, Any]
    leads: str
    """The version that leads now; the release's id when it is none of ours."""

    @property
    def outcome(self) -> str:
        return str(self.result.get("outcome") or "failed")

    @property
    def reason(self) -> str:
        error: dict[str, Any] = self.result.get("error") or {}
        return str(self.result.get("reason") or error.get("message", ""))

    @property
    def wrong(self) -> str:
        """What is not as it should be, "" when all is."""
        act = self.act
        reason = f" ({self.reason})" if self.reason else ""
        if self.outcome != act.outcome:
            return f"{act.version}, {act.title}: {self.outcome}{reason}, expected {act.outcome}"
        if act.because not in self.reason:
            return f"{act.version}, {act.title}: {self.outcome}{reason}, expected the reason to name {act.because!r}"
        if self.leads != act.leads:
            return f"{act.version}, {act.title}: {self.leads or 'no version'} leads afterwards, expected {act.leads}"
        return ""
