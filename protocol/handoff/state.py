"""The state of a handoff, and the functions that the rules of several phases use."""

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
"""Why a worker is killed that was ordered to lead and did not."""

_ALARMS = ("start", "rehearse", "boundary", "repeat", "probation", "retire", "succeed")


class HandoffState(msgspec.Struct):
    """One deployment, from `old` to `new`, as far as the supervisor knows. It is data, and is stored.

    `order` and `order + 1` are this deployment's order numbers: the first for the handoff, the second for the rollback.
    With `rehearse_only` the deployment ends, as DONE, where the order would be given.
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
    """The operator cancelled: if the transfer happens nevertheless, undo it."""
    epoch: int = 0
    """The highest epoch under which a worker has reported to lead."""
    standby: str = ""
    """A third worker that guards."""
    committed: bool = False
    """The new worker has led."""
    granted: int = 0
    """The epoch under which the old worker leads as the deployment begins; 0 when that is not known."""
    doubt: bool = False
    """The order may be out, although the stored machine has not given it."""
    after: int = 0
    """The deployment in its probation that has to end before this one may hand over; 0 if there is none."""
    asked: int = 0
    """The epoch under which the new worker was ordered to yield back; 0 when it was not, or not once more."""

    def came_between(self, epoch: int) -> bool:
        """Whether the new worker led, if only for a moment, before the old one did under `epoch`.

        Each time a worker takes the lease, a new epoch begins. An epoch that was not reported was the new worker's.
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
        """The order to the new worker to follow the old one, if the old one is alive."""
        # Beside a leader that died, the new worker finds the next one by itself.
        return [SendTo(self.new, Follow(self.old))] if self.old_lives else []

    def yield_to_new(self) -> SendTo:
        """The order to hand over. It may be sent again: a worker settles each order once."""
        return SendTo(self.old, YieldTo(self.order, self.new, self.deployment, self.force))

    def yield_back(self) -> SendTo:
        """The order to yield back, with the next number."""
        # Inside a protected window only if the deployment was allowed to: a rollback is a handoff too.
        return SendTo(self.new, YieldTo(self.order + 1, self.old, self.deployment, self.force, back=True))

    def finish(self, phase: Phase, reason: str, third: str = "") -> list[HandoffCommand]:
        """End the deployment in `phase`. The leader is `third`, or the one of the two that follows from the phase."""
        self.phase = phase
        self.reason = reason
        new_leads = phase is Phase.DONE and not self.rehearse_only
        leader = third or (self.new if new_leads else self.old)
        alive = third or (self.new_lives if new_leads else self.old_lives)
        return [*disarm_all(), Finish(phase, reason, leader if alive else "")]


def disarm_all() -> list[HandoffCommand]:
    """Disarm every timer, armed or not."""
    return [DisarmTimer(name) for name in _ALARMS]


def why(event: HandoffEvent, phase: Phase) -> str:
    """Why the deployment does not go on after `event` in `phase`, in words for an operator."""
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
