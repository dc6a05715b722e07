"""The handoff while the order to yield is out: the lease goes from the old worker to the new one, or stays.

The rules of the phases WAITING, CANCELLING and TRANSFERRING. The two workers transfer the lease between themselves; the
commands of these rules keep them from waiting for a lost message or a dead worker.
"""

from __future__ import annotations

from ..link import CancelYield, Lead
from . import probation, standby
from .handoff_events import (
    NO_BOUNDARY,
    AbortRequested,
    ArmTimer,
    CannotRead,
    DisarmTimer,
    Dismiss,
    Exited,
    HandoffCommand,
    Kill,
    Phase,
    Seen,
    SendTo,
    TimerFired,
    Withdrawn,
)
from .state import STOPPED, HandoffState, why

__all__ = ["ask_to_lead", "cancel", "cancel_again", "died", "revoke", "seen", "seen_waiting", "withdrawn"]


def seen_waiting(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """The order is out, or being cancelled: the next report shows whether it was carried out."""
    match event:
        case Seen(worker=handoff.new, role="leading"):
            return probation.enter(handoff)
        case Seen(worker=handoff.old, role="yielding" | "following"):
            handoff.phase = Phase.TRANSFERRING
            return [DisarmTimer("boundary"), ArmTimer("repeat")]
        case _:
            return []


def seen(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """The old worker has yielded: the next worker that reports LEADING shows the result."""
    match event:
        case Seen(worker=handoff.new, role="leading"):
            return probation.enter(handoff)
        case Seen(worker=handoff.old, role="leading", epoch=epoch) if handoff.came_between(epoch):
            return probation.rolled_back(handoff)
        case Seen(worker=handoff.old, role="leading"):
            return [
                Dismiss(handoff.new),
                *handoff.finish(Phase.ABORTED, handoff.reason or "the new worker did not take over"),
            ]
        case _:
            return []


def cancel(handoff: HandoffState, event: AbortRequested | TimerFired | CannotRead) -> list[HandoffCommand]:
    """Cancel the order, or repeat it if the event is only the timer for that."""
    match event:
        case TimerFired("repeat"):
            return [handoff.yield_to_new(), ArmTimer("repeat")]
        case TimerFired(name) if name != "boundary":
            return []
        case CannotRead(worker=worker) if worker != handoff.new:
            return []
        case AbortRequested():
            handoff.revoked = True
        case _:
            pass
    handoff.reason = why(event, handoff.phase)
    handoff.phase = Phase.CANCELLING
    return [DisarmTimer("boundary"), SendTo(handoff.old, CancelYield(handoff.order)), ArmTimer("repeat")]


def cancel_again(handoff: HandoffState, event: TimerFired) -> list[HandoffCommand]:
    if event.name != "repeat":
        return []
    return [SendTo(handoff.old, CancelYield(handoff.order)), ArmTimer("repeat")]


def withdrawn(handoff: HandoffState, event: Withdrawn) -> list[HandoffCommand]:
    """The old worker leads on and will not yield: abort. Without having been cancelled, it has found no boundary."""
    if event.worker != handoff.old or event.order != handoff.order:
        return []
    return [Dismiss(handoff.new), *handoff.finish(Phase.ABORTED, handoff.reason or NO_BOUNDARY)]


def revoke(handoff: HandoffState, event: AbortRequested) -> list[HandoffCommand]:
    """The operator cancels a transfer that cannot be stopped any more: note that it has to be undone."""
    handoff.revoked = True
    handoff.reason = event.reason
    return []


def died(handoff: HandoffState, event: Exited) -> list[HandoffCommand]:
    """A worker has died with the order out: the other one has to lead, or has never stopped."""
    if not handoff.old_lives and not handoff.new_lives:
        if handoff.standby:
            return standby.wait_for_it(handoff, "both workers ended")
        return handoff.finish(Phase.ABORTED, "both workers ended")
    if event.worker == handoff.new:
        handoff.reason = handoff.reason or why(event, handoff.phase)
        if handoff.phase is Phase.WAITING:
            handoff.phase = Phase.CANCELLING
            return [
                DisarmTimer("boundary"),
                SendTo(handoff.old, CancelYield(handoff.order)),
                ArmTimer("repeat"),
            ]
        # The old worker takes the lease back by itself, unless it hangs.
        return [ArmTimer("succeed")] if handoff.phase is Phase.TRANSFERRING else []
    handoff.phase = Phase.TRANSFERRING
    if handoff.standby:
        # The new worker or the standby takes the lease without an order; the standby's code is proven.
        handoff.reason = handoff.reason or why(event, handoff.phase)
        return [DisarmTimer("boundary"), ArmTimer("repeat")]
    # The old worker died, and the new one and the journal have the state: go forward.
    return [DisarmTimer("boundary"), SendTo(handoff.new, Lead()), ArmTimer("repeat"), ArmTimer("succeed")]


def ask_to_lead(handoff: HandoffState, event: TimerFired) -> list[HandoffCommand]:
    """No worker has led for a while: order one that is alive to lead. The kernel refuses it if another was first.

    The old worker takes the lease back by itself when the new one does not come, but not when it hangs.
    """
    left = handoff.new if handoff.new_lives else handoff.old
    match event.name:
        case "repeat":
            return [SendTo(left, Lead()), ArmTimer("repeat")]
        case "succeed":
            return [Kill(left, STOPPED)]
        case _:
            return []
