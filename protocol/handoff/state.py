"""What the handoff knows of its deployment, and what the rules of all its phases need."""

from __future__ import annotations

import msgspec

from ..link import Follow, YieldTo
from .handoff_events import (
    NO_BOUNDARY,
    AbortRequested,
    CannotRead,
    DisarmTimer,
    Exited,
    Finish,
    HandoffCommand,
    HandoffEvent,
    Phase,
    SendTo,
    TimerFired,
)

__all__ = ["BEFORE", "NEW_LEADS", "STOPPED", "HandoffState", "disarm_all", "why"]

BEFORE = (Phase.PREPARING, Phase.REHEARSING, Phase.PREPARED)
"""The phases in which the old worker has been ordered nothing."""
NEW_LEADS = (Phase.PROBATION, Phase.REVERTING, Phase.RETIRING)
"""The phases in which the new worker leads, as far as is known."""
STOPPED = "it did not take the lease in time"
"""Why a worker is killed that was asked to lead and did nothing."""

_ALARMS = ("start", "rehearse", "boundary", "repeat", "probation", "retire", "succeed")


class HandoffState(msgspec.Struct):
    """One deployment, from `old` to `new`, as far as the supervisor has heard. It is data, and kept.

    `order` and `order + 1` are this deployment's order numbers: one for the handoff, one for the way back. With
    `rehearse_only` the deployment ends, as DONE, where the order would be given.
    """

    deployment: int
    old: str
    new: str
    order: int
    force: bool = False
    rehearse_only: bool = False
    phase: Phase = Phase.PREPARING
    reason: str = ""
    """Why it is being cancelled or reverted, or how it ended."""
    old_lives: bool = True
    new_lives: bool = True
    revoked: bool = False
    """The operator cancelled: if the transfer happened all the same, undo it."""
    epoch: int = 0
    """The highest epoch under which a worker has reported to lead."""
    standby: str = ""
    """A third worker that guards."""
    committed: bool = False
    """The new worker has led."""
    granted: int = 0
    """The epoch under which the old worker leads as the deployment begins; 0 when that is not known."""
    doubt: bool = False
    """The order may be out, though the machine has not given it as far as it knows."""
    after: int = 0
    """The deployment that is in its probation and has to end before this one may hand over; 0: there is none."""
    asked: int = 0
    """The epoch under which the new worker was ordered to yield back; 0 when it is not, or not once more."""

    def came_between(self, epoch: int) -> bool:
        """Whether the new worker led, if only for a moment, before the old one did under `epoch`.

        Each taking of the lease is one epoch: one that was not reported was the new worker's.
        """
        return bool(self.granted) and epoch > self.granted + 1

    def note_death(self, event: Exited) -> None:
        """One of the two workers, or the standby, has ended."""
        if event.worker == self.old:
            self.old_lives = False
        elif event.worker == self.new:
            self.new_lives = False
        else:
            self.standby = ""

    def have_it_follow(self) -> list[HandoffCommand]:
        """The order to the new worker to follow the old one, if there is one to follow."""
        # Beside a leader that died, the new worker finds the next one by itself.
        return [SendTo(self.new, Follow(self.old))] if self.old_lives else []

    def yield_to_new(self) -> SendTo:
        """The order that the deployment is about. It may be sent again: a worker settles each order once."""
        return SendTo(self.old, YieldTo(self.order, self.new, self.deployment, self.force))

    def yield_back(self) -> SendTo:
        """The order that undoes it, with the next number."""
        # Past a protected window only when the deployment was allowed to: a rollback is a handoff too.
        return SendTo(self.new, YieldTo(self.order + 1, self.old, self.deployment, self.force, back=True))

    def finish(self, phase: Phase, reason: str, third: str = "") -> list[HandoffCommand]:
        """End the deployment in `phase`. The leader is `third`, or the one of the two that the phase speaks for."""
        self.phase = phase
        self.reason = reason
        new_leads = phase is Phase.DONE and not self.rehearse_only
        leader = third or (self.new if new_leads else self.old)
        alive = third or (self.new_lives if new_leads else self.old_lives)
        return [*disarm_all(), Finish(phase, reason, leader if alive else "")]


def disarm_all() -> list[HandoffCommand]:
    """Put out every alarm there is, armed or not."""
    return [DisarmTimer(name) for name in _ALARMS]


def why(event: HandoffEvent, phase: Phase) -> str:
    """The reason that `event`, in `phase`, gives for not going on: words for an operator."""
    match event:
        case TimerFired("start"):
            return "the new worker was not ready in time"
        case TimerFired("rehearse"):
            return "the new worker did not catch up in time"
        case TimerFired("boundary"):
            return NO_BOUNDARY
        case CannotRead(reason=reason) | AbortRequested(reason=reason):
            return reason
        case Exited(worker=worker, reason=reason):
            return reason or f"{worker} ended while {phase.value}"
        case _:
            return type(event).__name__
