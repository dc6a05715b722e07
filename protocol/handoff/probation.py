"""The handoff while the new worker leads and the old one follows: then the deployment is final or is rolled back.

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
    Withdrawn,
)
from .state import STOPPED, HandoffState, why

__all__ = [
    "cannot_yield",
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
"""As `asked`: the old worker died a while ago, so the new worker's report is true under any epoch."""


def enter(handoff: HandoffState) -> list[HandoffCommand]:
    """The new worker leads. A request or an event of the meantime may end the probation at once."""
    handoff.phase = Phase.PROBATION
    handoff.committed = True
    handoff.after = 0
    settled: list[HandoffCommand] = [DisarmTimer("boundary"), DisarmTimer("repeat")]
    if not handoff.old_lives:
        return [*settled, *handoff.finish(Phase.DONE, "the old worker ended during the transfer")]
    # A cancelled order that was carried out after all (the boundary came too late) is not a reason to revert.
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
    """The old worker leads again, or the new one leads once more and needs another order."""
    if not handoff.old_lives:
        leads = (event.worker, event.role) == (handoff.new, "leading")
        # A report from before it yielded can arrive after the event of the death. Later reports are true.
        return handoff.finish(Phase.DONE, handoff.reason) if leads and event.epoch > handoff.asked else []
    if (event.worker, event.role) == (handoff.new, "leading") and 0 < handoff.asked < handoff.epoch:
        # It yielded, no worker took over, and it took the lease back: that order is settled, so it needs another one.
        # Only once: that is enough for a lost frame, and with a hung old worker each attempt costs ticks.
        handoff.order += 2
        handoff.asked = 0
        return [handoff.yield_back(), ArmTimer("repeat")]
    return seen(handoff, event)


def died(handoff: HandoffState, event: Exited) -> list[HandoffCommand]:
    """A worker has died: the old one guards the new one, and is needed for a rollback."""
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
        # If the old worker had led already, no worker leads: the new one has yielded, and does not promote itself.
        handoff.reason = "the old worker ended while it was to lead again"
        handoff.asked = handoff.asked or handoff.epoch
        return [DisarmTimer("boundary"), SendTo(handoff.new, Lead()), ArmTimer("repeat"), ArmTimer("succeed")]
    return handoff.finish(Phase.DONE, "the old worker ended in probation: there was no instant way back")


def failed(handoff: HandoffState, event: CannotRead) -> list[HandoffCommand]:
    """The new worker reports why it fails: that is the reason of the rollback that follows."""
    if event.worker == handoff.new:
        handoff.reason = handoff.reason or event.reason
    return []


def suspected(handoff: HandoffState, event: Suspected) -> list[HandoffCommand]:
    """The old worker reports that the new one hangs: kill that one, and the kernel frees the lease."""
    if event.by != handoff.old or event.leader != handoff.new or event.decision or not handoff.new_lives:
        return []
    handoff.reason = handoff.reason or event.reason
    return [Kill(handoff.new, event.reason)]


def revert(handoff: HandoffState, event: RollbackRequested | AbortRequested) -> list[HandoffCommand]:
    """Order the new worker to yield back."""
    handoff.reason = event.reason
    handoff.phase = Phase.REVERTING
    handoff.asked = handoff.epoch
    return [DisarmTimer("probation"), handoff.yield_back(), ArmTimer("boundary"), ArmTimer("repeat")]


def cannot_yield(handoff: HandoffState, event: Withdrawn) -> list[HandoffCommand]:
    """The new worker has a task that does not end: only the end of its process makes sure that it no longer acts."""
    if event.worker != handoff.new or event.order != handoff.order + 1 or not handoff.new_lives:
        return []
    return [Kill(handoff.new, "it could not yield for the rollback")] if handoff.old_lives else []


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
            # The new worker reached no boundary in time. It leads on, and its probation begins again.
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
    """The probation is over: the deployment is final."""
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
