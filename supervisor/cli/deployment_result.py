"""How a deployment ended, as one flat object: what `deploy --json` prints, and what its exit code is made of."""

from __future__ import annotations

import msgspec

from ...protocol.events import DeploymentEnded
from ...protocol.handoff.handoff_events import NO_BOUNDARY, Phase
from ..store.history_rows import DeploymentRow, ended_of
from ..terminal.deployment_story import DeploymentStory
from .exit_codes import Exit, exit_of_outcome

__all__ = ["ENDS", "Outcome", "of_event", "of_row", "phases_of"]

ENDS = frozenset(phase.value for phase in (Phase.DONE, Phase.ABORTED, Phase.ROLLED_BACK))
"""The phases in which nothing happens any more."""


class Outcome(msgspec.Struct, frozen=True):
    """How a deployment ended. `outcome` is done, rehearsed, aborted or rolled_back."""

    deployment: int
    outcome: str
    reason: str
    release: str
    """What runs now, "" when nothing does."""
    seq: int | None
    """The new leader's first tick, when there was a transfer."""
    blackout_us: float | None
    late_us: float | None
    """How late that tick was."""
    missed: int
    rollback: str
    held: str
    """What held the handoff, when no boundary came in time."""
    phases: dict[str, float]
    """Milliseconds by phase."""

    @property
    def exit(self) -> Exit:
        no_boundary = self.reason.startswith(NO_BOUNDARY)
        return exit_of_outcome(self.outcome, leads=bool(self.release), no_boundary=no_boundary)


def of_row(row: DeploymentRow) -> Outcome | None:
    """The outcome of a deployment, from the history; None when it has not ended."""
    ended = ended_of(row)
    if ended is None:
        return None
    holds = [str(note.facts.get("reason") or note.text) for note in row.steps if note.step == "holding"]
    return _outcome(ended, holds[-1] if holds else "", phases_of(row))


def phases_of(row: DeploymentRow) -> dict[str, int]:
    """How long a deployment was in each of its phases, ns, in their order."""
    spent: dict[str, int] = {}
    for note in row.phases:
        if note.before:
            spent[note.before] = spent.get(note.before, 0) + note.took
    if row.phases and row.ended is not None and row.phases[-1].phase not in ENDS:
        # What is never begun ends in the middle of a phase.
        unended = row.phases[-1]
        spent[unended.phase] = spent.get(unended.phase, 0) + max(0, row.ended - unended.at)
    return spent


def of_event(event: DeploymentEnded, progress: DeploymentStory) -> Outcome:
    """The outcome from the event that ended the deployment, and what was seen on the way."""
    return _outcome(event, progress.held, progress.phases)


def _outcome(event: DeploymentEnded, held: str, phases: dict[str, int]) -> Outcome:
    return Outcome(
        deployment=event.deployment,
        outcome=event.outcome,
        reason=event.reason,
        release=event.release,
        seq=event.seq,
        blackout_us=_us(event.blackout),
        late_us=_us(event.late),
        missed=event.missed,
        rollback=event.rollback,
        held=held if event.reason.startswith(NO_BOUNDARY) else "",
        phases={name: round(took / 1e6, 3) for name, took in phases.items() if name},
    )


def _us(ns: int | None) -> float | None:
    return None if ns is None else round(ns / 1e3, 1)
