"""The handoff before the order to yield: the new worker starts, follows and rehearses, and may wait its turn.

The rules of the phases PREPARING, REHEARSING and PREPARED. The old worker has been ordered nothing and notices
nothing; a resumed handoff cannot be sure of that (`doubt`). A handoff behind another one (`after`) ignores who leads.
"""

from __future__ import annotations

from ..link import CancelYield, Follow
from . import probation, standby, transfer
from .handoff_events import (
    AbortRequested,
    ArmTimer,
    CannotRead,
    Cleared,
    DeployRequested,
    DisarmTimer,
    Dismiss,
    Exited,
    HandoffCommand,
    Phase,
    Seen,
    SendTo,
    Spawn,
    TimerFired,
)
from .state import HandoffState, why

__all__ = ["begin", "cleared", "give_up", "seen", "seen_prepared", "seen_rehearsing"]

_PATIENCE = {Phase.PREPARING: "start", Phase.REHEARSING: "rehearse"}


def begin(handoff: HandoffState, event: DeployRequested) -> list[HandoffCommand]:
    return [Spawn(handoff.new), ArmTimer("start")]


def seen(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """The new worker is ready: have it follow and rehearse."""
    if event.worker != handoff.new or not event.ready:
        return []
    handoff.phase = Phase.REHEARSING
    return [DisarmTimer("start"), *handoff.have_it_follow(), ArmTimer("rehearse"), ArmTimer("repeat")]


def seen_rehearsing(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """The new worker has caught up: order the old one to yield, if that is the next step."""
    if handoff.doubt and _is_under_way(event, handoff.old if not handoff.after else "", handoff.new):
        handoff.phase = Phase.WAITING
        return [DisarmTimer("rehearse"), *transfer.seen_waiting(handoff, event)]
    if event.worker != handoff.new or not event.loaded or event.role != "following":
        return []
    if handoff.rehearse_only:
        return [Dismiss(handoff.new), *handoff.finish(Phase.DONE, "rehearsed")]
    if handoff.after:
        handoff.phase = Phase.PREPARED
        return [DisarmTimer("rehearse"), DisarmTimer("repeat")]
    return [DisarmTimer("rehearse"), *_order_the_old(handoff)]


def seen_prepared(handoff: HandoffState, event: Seen) -> list[HandoffCommand]:
    """The new worker waits its turn; it may come to lead when its leader dies."""
    leads = (event.worker, event.role) == (handoff.new, "leading")
    return probation.enter(handoff) if leads else []


def cleared(handoff: HandoffState, event: Cleared) -> list[HandoffCommand]:
    """The deployment before this one has ended: take over from the worker that leads now."""
    handoff.after = 0
    if not event.leader:
        return [Dismiss(handoff.new), *handoff.finish(Phase.ABORTED, "no worker leads to take over from")]
    handoff.epoch = max(handoff.epoch, event.epoch)
    if event.leader == handoff.new:
        return probation.enter(handoff)
    as_before = event.leader == handoff.old and handoff.old_lives
    handoff.old, handoff.old_lives, handoff.granted = event.leader, True, event.epoch
    handoff.standby = "" if handoff.standby == handoff.old else handoff.standby
    if handoff.phase is Phase.PREPARING or (handoff.phase is Phase.REHEARSING and as_before):
        return []
    if as_before:
        return _order_the_old(handoff)
    handoff.phase = Phase.REHEARSING
    return [SendTo(handoff.new, Follow(handoff.old)), ArmTimer("rehearse"), ArmTimer("repeat")]


def give_up(
    handoff: HandoffState, event: CannotRead | Exited | AbortRequested | TimerFired
) -> list[HandoffCommand]:
    """Abort: nothing was ordered yet, so the old worker leads on and is not affected."""
    match event:
        case TimerFired("repeat") if handoff.phase is Phase.REHEARSING:
            return [*handoff.have_it_follow(), ArmTimer("repeat")]
        case TimerFired(name) if name != _PATIENCE[handoff.phase]:
            return []
        case CannotRead(worker=worker) if worker != handoff.new:
            return []
        case Exited(worker=worker) if worker == handoff.old and handoff.after:
            return [DisarmTimer("rehearse"), DisarmTimer("repeat")]
        case _:
            pass
    if handoff.after:
        return [Dismiss(handoff.new), *handoff.finish(Phase.ABORTED, why(event, handoff.phase))]
    if not handoff.old_lives and handoff.standby:
        return standby.wait_for_it(handoff, why(event, handoff.phase))
    if handoff.doubt and handoff.old_lives:
        handoff.reason = why(event, handoff.phase)
        handoff.phase = Phase.CANCELLING
        return [DisarmTimer("rehearse"), SendTo(handoff.old, CancelYield(handoff.order)), ArmTimer("repeat")]
    return [Dismiss(handoff.new), *handoff.finish(Phase.ABORTED, why(event, handoff.phase))]


def _order_the_old(handoff: HandoffState) -> list[HandoffCommand]:
    handoff.phase = Phase.WAITING
    return [handoff.yield_to_new(), ArmTimer("boundary"), ArmTimer("repeat")]


def _is_under_way(event: Seen, old: str, new: str) -> bool:
    """Whether the report shows a handoff that was ordered."""
    return (event.worker, event.role) == (new, "leading") or (
        event.worker == old and event.role in ("yielding", "following")
    )
