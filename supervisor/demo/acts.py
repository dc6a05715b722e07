"""The demo's deployments, act by act, with the expected outcome of each."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["ACTS", "Act", "Played"]


class Act(msgspec.Struct, frozen=True):
    """One deployment. `version` is deployed or rolled back to; `leads` is the version that must lead afterwards."""

    version: str
    title: str
    outcome: str
    leads: str
    because: str = ""
    """What the failure's reason must contain: another failure would prove nothing."""
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
    """The result of an act: exit code and JSON object of its command."""

    act: Act
    exit: int
    result: dict[str, Any]
    leads: str
    """The version that leads now; a release id if it is not one of the demo's."""

    @property
    def outcome(self) -> str:
        return str(self.result.get("outcome") or "failed")

    @property
    def reason(self) -> str:
        error: dict[str, Any] = self.result.get("error") or {}
        return str(self.result.get("reason") or error.get("message", ""))

    @property
    def wrong(self) -> str:
        """How the result differs from the expectation, "" if it does not."""
        act = self.act
        reason = f" ({self.reason})" if self.reason else ""
        if self.outcome != act.outcome:
            return f"{act.version}, {act.title}: {self.outcome}{reason}, expected {act.outcome}"
        if act.because not in self.reason:
            return f"{act.version}, {act.title}: {self.outcome}{reason}, expected the reason to name {act.because!r}"
        if self.leads != act.leads:
            return f"{act.version}, {act.title}: {self.leads or 'no version'} leads afterwards, expected {act.leads}"
        return ""
