"""The handoff resumed: a supervisor goes on with it, with the workers in any state.

The stored machine may be one step behind. Therefore the workers' reports decide, and what was stored only where there
is no report. An order that may be out is given or cancelled once more, which is safe since a worker settles it once.
"""

from __future__ import annotations

from typing import TypeGuard

from ..link import CancelYield, Lead, Retire
from . import preparing, probation, standby
from .handoff_events import (
    ArmTimer,
    Dismiss,
    HandoffCommand,
    HandoffResumed,
    Phase,
    RollbackRequested,
    Seen,
    SendTo,
)
from .state import BEFORE, NEW_LEADS, HandoffState

__all__ = ["resume"]

_UNSEEN = "ended while no supervisor ran"


def resume(handoff: HandoffState, event: HandoffResumed) -> list[HandoffCommand]:
    """Go to the phase that follows from the workers' reports. These were made one after the other, not at once."""
    old, new, third = event.old, event.new, event.third
    if handoff.after and event.cleared and _leads(third):
        # The deployment before this one was rolled back.
        old, third, handoff.old = third, None, third.worker
    handoff.after = 0 if event.cleared else handoff.after
    handoff.old_lives, handoff.new_lives = _stays(old), _stays(new)
    leading = [seen for seen in (old, new, third) if _leads(seen)]
    leader = max(leading, key=lambda seen: seen.epoch, default=None)
    if handoff.after and (leader is None or leader is not new):
        return _behind(handoff, new)
    handoff.standby = third.worker if third is not None and not _leads(third) else ""
    if leader is not None and leader is third:
        return standby.succeeded(handoff, leader)
    handoff.epoch = max([handoff.epoch, *(seen.epoch for seen in leading)])
    if leader is None:
        return _without_a_leader(handoff, old, new, event.last)
    if leader is new:
        return _led_by_new(handoff, old)
    return _led_by_old(handoff, leader, new, event.settled)


def _behind(handoff: HandoffState, new: Seen | None) -> list[HandoffCommand]:
    """The deployment before this one has to determine which worker leads."""
    if new is None or not handoff.new_lives:
        return [Dismiss(handoff.new), *handoff.finish(Phase.ABORTED, f"the new worker {_UNSEEN}")]
    return _still_preparing(handoff, new)


def _still_preparing(handoff: HandoffState, new: Seen) -> list[HandoffCommand]:
    """No order is known to be given: go on with the new worker in its present role."""
    if new.role == "joining":
        handoff.phase = Phase.PREPARING
        return [ArmTimer("start"), *preparing.seen(handoff, new)]
    handoff.phase = Phase.REHEARSING
    handoff.doubt = not handoff.rehearse_only
    return [
        ArmTimer("rehearse"),
        *handoff.have_it_follow(),
        ArmTimer("repeat"),
        *preparing.seen_rehearsing(handoff, new),
    ]


def _led_by_new(handoff: HandoffState, old: Seen | None) -> list[HandoffCommand]:
    """The new worker leads: the deployment is retiring, being reverted or in its probation."""
    if old is None:
        retired = handoff.phase is Phase.RETIRING
        return handoff.finish(Phase.DONE, handoff.reason if retired else f"the old worker {_UNSEEN}")
    if not handoff.old_lives or handoff.phase is Phase.RETIRING:
        handoff.phase = Phase.RETIRING
        return [SendTo(handoff.old, Retire()), ArmTimer("retire"), ArmTimer("repeat")]
    if handoff.phase is Phase.REVERTING:
        handoff.order += 2 if handoff.asked < handoff.epoch else 0
        return probation.revert(handoff, RollbackRequested(handoff.reason))
    return probation.enter(handoff)


def _led_by_old(handoff: HandoffState, old: Seen, new: Seen | None, settled: int) -> list[HandoffCommand]:
    """The new worker has led and yielded back, or has never led: then the order may be out."""
    if handoff.phase in NEW_LEADS or handoff.came_between(old.epoch):
        if new is None:
            handoff.reason = handoff.reason or f"the new worker {_UNSEEN}"
        return probation.rolled_back(handoff)
    phase = handoff.phase
    if phase is Phase.CANCELLING:
        return [SendTo(handoff.old, CancelYield(handoff.order)), ArmTimer("repeat")]
    if phase is Phase.TRANSFERRING or settled >= handoff.order:
        reason = handoff.reason or "the new worker did not take over"
        return [Dismiss(handoff.new), *handoff.finish(Phase.ABORTED, reason)]
    if new is None or not handoff.new_lives:
        handoff.reason = f"the new worker {_UNSEEN}"
        handoff.phase = Phase.CANCELLING
        return [SendTo(handoff.old, CancelYield(handoff.order)), ArmTimer("repeat")]
    if phase is Phase.WAITING:
        return [handoff.yield_to_new(), ArmTimer("boundary"), ArmTimer("repeat")]
    return _still_preparing(handoff, new)


def _without_a_leader(
    handoff: HandoffState, old: Seen | None, new: Seen | None, last: str
) -> list[HandoffCommand]:
    """Neither worker leads: the lease is on its way, or its holder is dead."""
    # A dead worker may have taken the lease without the stored machine showing it. The lease's file shows it.
    led = handoff.phase in NEW_LEADS or (not handoff.new_lives and last == handoff.new)
    if not handoff.old_lives and not handoff.new_lives:
        if handoff.standby:
            return standby.wait_for_it(handoff, f"both workers {_UNSEEN}")
        ended = Phase.DONE if handoff.phase is Phase.RETIRING else Phase.ROLLED_BACK if led else Phase.ABORTED
        return handoff.finish(ended, f"both workers {_UNSEEN}")
    if not handoff.old_lives:
        return _without_the_old(handoff, new, led)
    if not handoff.new_lives:
        led = led or (old is not None and old.role == "following")
        handoff.phase = Phase.REVERTING if led else Phase.TRANSFERRING
        handoff.reason = handoff.reason or f"the new worker {_UNSEEN}"
        return [SendTo(handoff.old, Lead()), ArmTimer("repeat"), ArmTimer("succeed")]
    if handoff.phase is Phase.RETIRING:
        return [SendTo(handoff.old, Retire()), ArmTimer("retire"), ArmTimer("repeat")]
    if led or (new is not None and new.role == "yielding"):
        handoff.phase = Phase.REVERTING
        return [ArmTimer("boundary"), ArmTimer("repeat")]
    handoff.phase = Phase.TRANSFERRING
    return [ArmTimer("repeat")]


def _without_the_old(handoff: HandoffState, new: Seen | None, led: bool) -> list[HandoffCommand]:
    """The old worker is dead: the new one has to lead if it has the state; if it led before, it leads again."""
    if led:
        return handoff.finish(Phase.DONE, f"the old worker {_UNSEEN}")
    if handoff.phase in BEFORE or new is None or not new.loaded:
        if handoff.standby:
            return standby.wait_for_it(handoff, f"the old worker {_UNSEEN}")
        return [Dismiss(handoff.new), *handoff.finish(Phase.ABORTED, f"the old worker {_UNSEEN}")]
    handoff.phase = Phase.TRANSFERRING
    return [SendTo(handoff.new, Lead()), ArmTimer("repeat"), ArmTimer("succeed")]


def _leads(seen: Seen | None) -> TypeGuard[Seen]:
    return seen is not None and seen.role == "leading"


def _stays(seen: Seen | None) -> bool:
    return seen is not None and seen.role != "retired"
