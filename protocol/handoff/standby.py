"""The handoff and the third worker: the standby that guards, and takes the lease when its leader dies.

The rules of the phase SUCCEEDING, in which only the standby is left, and how the other phases get there.
"""

from __future__ import annotations

from ..link import Lead
from .handoff_events import (
    ArmTimer,
    DisarmTimer,
    Dismiss,
    Exited,
    HandoffCommand,
    Kill,
    Phase,
    Seen,
    SendTo,
    StandsBy,
    TimerFired,
)
from .state import BEFORE, NEW_LEADS, STOPPED, HandoffState, disarm_all

__all__ = ["alarm", "alone", "died", "note", "seen", "succeeded", "wait_for_it"]


def note(handoff: HandoffState, event: StandsBy) -> list[HandoffCommand]:
    """There is a standby, or none any more. While the machine waits for a standby, it does not change to another."""
    if handoff.phase is not Phase.SUCCEEDING:
        handoff.standby = event.worker
    return []


def succeeded(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """A third worker leads: it took the lease when its leader had died."""
    if event.epoch == handoff.epoch:
        return []
    # If a lease was taken and not reported, the new worker took it.
    led = (
        handoff.committed
        or handoff.phase in NEW_LEADS
        or (handoff.phase not in BEFORE and handoff.came_between(event.epoch))
    )
    reason = handoff.reason or f"the leader died, and {event.worker} went on"
    handoff.epoch = event.epoch
    return [
        Dismiss(handoff.new),
        *handoff.finish(Phase.ROLLED_BACK if led else Phase.ABORTED, reason, event.worker),
    ]


def wait_for_it(handoff: HandoffState, reason: str) -> list[HandoffCommand]:
    """Only the standby is left to lead: order it to, and wait until it does."""
    handoff.phase = Phase.SUCCEEDING
    handoff.reason = reason
    return [
        *disarm_all(),
        Dismiss(handoff.new),
        SendTo(handoff.standby, Lead()),
        ArmTimer("repeat"),
        ArmTimer("succeed"),
    ]


def alarm(handoff: HandoffState, event: TimerFired) -> list[HandoffCommand]:
    """Repeat the order; and when the standby does not lead in time, stop waiting for it."""
    match event.name:
        case "repeat":
            return [SendTo(handoff.standby, Lead()), ArmTimer("repeat")]
        case "succeed":
            return [Kill(handoff.standby, STOPPED), DisarmTimer("repeat")]
        case _:
            return []


def seen(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """Reports of the two are outdated; `step` handles the standby's own before it uses the table."""
    return []


def died(handoff: HandoffState, event: Exited) -> list[HandoffCommand]:
    """The dismissed new worker has ended: wait on for the standby."""
    return []


def alone(handoff: HandoffState) -> list[HandoffCommand]:
    """The standby has died too: no worker leads."""
    return handoff.finish(Phase.ROLLED_BACK if handoff.committed else Phase.ABORTED, handoff.reason)
