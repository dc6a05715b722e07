"""The handoff when the new worker leads: the old one follows along, and then the deployment stands or is rolled back.

The rules of the phases PROBATION, REVERTING and RETIRING.
"""

from __future__ import annotations

from ..link import CancelYield, Lead, Retire
from . import standby
from .handoff_events import (
    AbortRequested,
    ArmTimer,
    CannotRead,
    DisarmTimer,
    Dismiss,
    Exited,
    HandoffCommand,
    Kill,
    Phase,
    RollbackRequested,
    Seen,
    SendTo,
    Suspected,
    TimerFired,
)
from .state import STOPPED, HandoffState, why

__all__ = [
    "conclude",
    "died",
    "enter",
    "failed",
    "retired",
    "retiring_alarm",
    "revert",
    "revert_alarm",
    "rolled_back",
    "seen",
    "seen_reverting",
    "suspected",
]


_SETTLED = -1
"""As `asked`: the old worker died a while ago, so what the new one reports now, under whatever epoch, is true."""


def enter(handoff: HandoffState) -> list[HandoffCommand]:
    """The new worker leads. What was asked for in the meantime, or happened, may end the probation at once."""
    handoff.phase = Phase.PROBATION
    handoff.committed = True
    handoff.after = 0
    settled: list[HandoffCommand] = [DisarmTimer("boundary"), DisarmTimer("repeat")]
    if not handoff.old_lives:
        return [*settled, *handoff.finish(Phase.DONE, "the old worker ended during the transfer")]
    # A false start of the way out (a boundary not reached in time, after all reached) is not a reason to revert.
    if handoff.revoked:
        return [*settled, *revert(handoff, RollbackRequested(handoff.reason))]
    handoff.reason = ""
    return [*settled, ArmTimer("probation")]


def seen(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """The old worker leads again: that is a rollback."""
    if event.worker != handoff.old or event.role != "leading":
        return []
    return rolled_back(handoff)


def seen_reverting(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """The old worker leads again, or the new one does once more and needs another order."""
    if not handoff.old_lives:
        leads = (event.worker, event.role) == (handoff.new, "leading")
        # A report from before it yielded can arrive after the news of the death. Later ones are true.
        return handoff.finish(Phase.DONE, handoff.reason) if leads and event.epoch > handoff.asked else []
    if (event.worker, event.role) == (handoff.new, "leading") and 0 < handoff.asked < handoff.epoch:
        # It yielded, no worker took over, and it took the lease back: that order is settled, so it takes another one.
        # Once: a frame that was lost comes through then, and beside an old worker that hangs each try costs ticks.
        handoff.order += 2
        handoff.asked = 0
        return [handoff.yield_back(), ArmTimer("repeat")]
    return seen(handoff, event)


def died(handoff: HandoffState, event: Exited) -> list[HandoffCommand]:
    """A worker has died: the old one guards the new one, and is the only way back."""
    if not handoff.old_lives and not handoff.new_lives:
        reason = handoff.reason or "both workers ended"
        if handoff.standby:
            return standby.wait_for_it(handoff, reason)
        return handoff.finish(Phase.ROLLED_BACK, reason)
    if event.worker == handoff.new:
        # The old one guards: it takes the lease as soon as the kernel frees it, and reports.
        handoff.reason = why(event, handoff.phase) if not handoff.reason else handoff.reason
        handoff.phase = Phase.REVERTING
        return [
            DisarmTimer("probation"),
            SendTo(handoff.old, Lead()),
            ArmTimer("repeat"),
            ArmTimer("succeed"),
        ]
    if handoff.phase is Phase.REVERTING:
        # If it had led already, no worker leads: the new one has yielded, and does not promote itself.
        handoff.reason = "the old worker ended while it was to lead again"
        handoff.asked = handoff.asked or handoff.epoch
        return [DisarmTimer("boundary"), SendTo(handoff.new, Lead()), ArmTimer("repeat"), ArmTimer("succeed")]
    return handoff.finish(Phase.DONE, "the old worker ended in probation: there was no instant way back")


def failed(handoff: HandoffState, event: CannotRead) -> list[HandoffCommand]:
    """The new worker says why it fails: that is why it will have been rolled back."""
    if event.worker == handoff.new:
        handoff.reason = handoff.reason or event.reason
    return []


def suspected(handoff: HandoffState, event: Suspected) -> list[HandoffCommand]:
    """The old worker says that the new one hangs: end it, and the kernel frees the lease."""
    if event.by != handoff.old or event.leader != handoff.new or event.decision or not handoff.new_lives:
        return []
    handoff.reason = handoff.reason or event.reason
    return [Kill(handoff.new, event.reason)]


def revert(handoff: HandoffState, event: RollbackRequested | AbortRequested) -> list[HandoffCommand]:
    """Have the new worker yield back."""
    handoff.reason = event.reason
    handoff.phase = Phase.REVERTING
    handoff.asked = handoff.epoch
    return [DisarmTimer("probation"), handoff.yield_back(), ArmTimer("boundary"), ArmTimer("repeat")]


def revert_alarm(handoff: HandoffState, event: TimerFired) -> list[HandoffCommand]:
    match event.name:
        case "repeat" if not handoff.old_lives:
            handoff.asked = _SETTLED
            return [SendTo(handoff.new, Lead()), ArmTimer("repeat")]
        case "succeed" if not handoff.old_lives:
            return [Kill(handoff.new, STOPPED)]
        case "repeat" if handoff.new_lives:
            return [handoff.yield_back(), ArmTimer("repeat")]
        case "repeat":
            return [SendTo(handoff.old, Lead()), ArmTimer("repeat")]
        case "succeed":
            return [Kill(handoff.old, STOPPED)]
        case "boundary" if handoff.new_lives:
            # The new worker reached no boundary in time. It goes on leading, and its probation begins again.
            handoff.phase = Phase.PROBATION
            handoff.reason = ""
            handoff.asked = 0
            handoff.order += 2
            return [
                DisarmTimer("repeat"),
                SendTo(handoff.new, CancelYield(handoff.order - 1)),
                ArmTimer("probation"),
            ]
        case _:
            return []


def conclude(handoff: HandoffState, event: TimerFired) -> list[HandoffCommand]:
    """The probation is over: the deployment stands."""
    if event.name != "probation":
        return []
    handoff.phase = Phase.RETIRING
    return [SendTo(handoff.old, Retire()), ArmTimer("retire"), ArmTimer("repeat")]


def retiring_alarm(handoff: HandoffState, event: TimerFired) -> list[HandoffCommand]:
    match event.name:
        case "repeat":
            return [SendTo(handoff.old, Retire()), ArmTimer("repeat")]
        case "retire":
            return [Kill(handoff.old, "it did not retire in time")]
        case _:
            return []


def retired(handoff: HandoffState, event: Exited) -> list[HandoffCommand]:
    """The old worker has left, by itself or killed."""
    if handoff.old_lives:
        return []
    if not handoff.new_lives and handoff.standby:
        return standby.wait_for_it(handoff, handoff.reason or "both workers ended")
    return handoff.finish(Phase.DONE, handoff.reason)


def rolled_back(handoff: HandoffState) -> list[HandoffCommand]:
    """The old worker leads again, after the new one did."""
    return [
        Dismiss(handoff.new),
        *handoff.finish(Phase.ROLLED_BACK, handoff.reason or "the old worker took the lease back"),
    ]
