"""How a deployment ended, as one flat object: what `deploy --json` prints, and what its exit code is made of."""

from __future__ import annotations

import msgspec

from ...protocol.handoff.handoff_events import NO_BOUNDARY
from ..terminal.deployment_lines import DeploymentLines
from .exit_codes import Exit, exit_of_outcome

__all__ = ["DeploymentResult", "result_of"]


class DeploymentResult(msgspec.Struct, frozen=True):
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


def result_of(lines: DeploymentLines) -> DeploymentResult:
    """The result of a deployment that was followed to its end."""
    event = lines.ended
    assert event is not None
    return DeploymentResult(
        deployment=event.deployment,
        outcome=event.outcome,
        reason=event.reason,
        release=event.release,
        seq=event.seq,
        blackout_us=_us(event.blackout),
        late_us=_us(event.late),
        missed=event.missed,
        rollback=event.rollback,
        held=lines.held if event.reason.startswith(NO_BOUNDARY) else "",
        phases={name: round(took / 1e6, 3) for name, took in lines.phases.items() if name},
    )


def _us(ns: int | None) -> float | None:
    return None if ns is None else round(ns / 1e3, 1)
