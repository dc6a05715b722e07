"""How deployments end: the outcome, and the answer to a command that waited for it."""

from __future__ import annotations

import msgspec

from ...protocol.events import DeploymentEnded, Outcome
from ...protocol.handoff.handoff_events import NO_BOUNDARY, Phase
from ..handoff.interfaces import Finished
from ..store.history_rows import DeploymentRow
from ..system.errors import Refusal

__all__ = ["aborted_before_handoff", "ended_unseen", "fault_of", "outcome_of"]


def aborted_before_handoff(reason: str, leader: str) -> Finished:
    """It ended before its handoff began."""
    return Finished(Phase.ABORTED, reason or "no worker leads", leader, took_over=False)


def outcome_of(how: Finished, *, dry_run: bool) -> Outcome:
    """The outcome that the event and the history have."""
    if how.phase is Phase.DONE:
        return "rehearsed" if dry_run else "done"
    return "rolled_back" if how.phase is Phase.ROLLED_BACK else "aborted"


def fault_of(ended: DeploymentEnded) -> Refusal | None:
    """The refusal for a deployment that did not do what was asked, None when it did."""
    if ended.outcome in ("done", "rehearsed"):
        return None
    facts = msgspec.to_builtins(ended)
    if ended.outcome == "rolled_back":
        return Refusal("rolled-back", f"rolled back: {ended.reason}", **facts)
    code = "boundary" if ended.reason.startswith(NO_BOUNDARY) else "aborted"
    return Refusal("down" if not ended.leader else code, f"aborted: {ended.reason}", **facts)


def ended_unseen(row: DeploymentRow, at: int) -> DeploymentEnded:
    """The end of a deployment whose handoff had not begun when its supervisor ended."""
    return DeploymentEnded(
        bot=row.bot,
        at=at,
        deployment=row.id,
        outcome="aborted",
        reason="the supervisor ended before it did",
        leader="",
        release="",
    )
