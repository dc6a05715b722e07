"""The handoff: the supervisor's view of one deployment.

Everything that decides what happens to a deployment is in this file and in those with its rules, one for each stage:
`preparing`, `transfer`, `probation`; `standby` for the third worker, and `resumed` for a restarted supervisor. None of
them knows a socket, a process or a clock. The machine gets the reports of the two workers and the ends of their
processes as events, and returns commands: what to send, which timers to arm and which processes to kill.

How it works. The new worker is spawned, gets ready, follows the old one and restores the real state. Any failure up to
here ends in ABORTED, and the old worker is not affected. Then the old worker is ordered to yield. From that moment the
supervisor does not decide any more: the two workers transfer the lease between themselves, and this machine follows
their reports. It relies on roles only. A worker that reports LEADING holds the lease, whatever was ordered before;
therefore the machine ends in the true state after a lost message, a late cancellation or a supervisor's absence.
Reports of two workers can overtake each other; if both report LEADING, the higher epoch is right. Orders are repeated
until the reports show that they were carried out, which is safe because a worker settles each order once.

A third worker, the standby, may take the lease when the leader dies (`StandsBy` says that there is one). Then the
deployment has ended, whatever its phase: the worker that reports LEADING leads, whichever it is. When all
others are dead, the machine waits for the standby before it reports that no worker leads.

A deployment can begin while the one before it is in its probation (`after`). It prepares and rehearses beside the
leader, and orders nothing until the one before has ended (`Cleared`). Until then the earlier deployment determines
which worker leads, so the leader's death, or another leader, changes nothing here. If another worker leads in the end,
the rehearsal is repeated on that worker's state.

A supervisor can end and another one resume the deployment. The machine is data, and is stored. Missed events do not
come again, so the machine gets a `HandoffResumed` with the present state of the two workers, and goes to the phase that
matches. The stored machine may be one step behind, because the last step was carried out but not stored: an order
can be out that the machine does not know of.

The machine never concludes that a worker may lead. It kills a process, the kernel frees the lease, and a worker
takes it.

`RULES` is the whole machine: for each phase its events, the function of each, and the phases that may follow. An
event without a rule in the current phase changes nothing. The diagram in docs/protocol.md is drawn from it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from . import preparing, probation, standby, transfer
from .handoff_events import (
    AbortRequested,
    CannotRead,
    Cleared,
    DeployRequested,
    Exited,
    HandoffCommand,
    HandoffEvent,
    HandoffResumed,
    Phase,
    RollbackRequested,
    Seen,
    StandsBy,
    Suspected,
    TimerFired,
    Withdrawn,
)
from .resumed import resume
from .state import HandoffState

__all__ = ["RULES", "Handoff", "HandoffRule"]


class Handoff(HandoffState):
    """The machine. `step` takes one event and returns commands in order. It never raises."""

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        rule = RULES[self.phase].get(type(event))
        if rule is None:
            return []
        match event:
            case Exited(worker=worker):
                if worker not in (self.old, self.new, self.standby):
                    return []
                self.note_death(event)
                if worker not in (self.old, self.new):
                    return standby.alone(self) if self.phase is Phase.SUCCEEDING else []
            case Seen(role="leading", epoch=epoch) if epoch:
                if epoch < self.epoch:
                    # Reports of two workers arrive in any order: this report is from before the newer leader took over.
                    return []
                if event.worker not in (self.old, self.new):
                    return standby.succeeded(self, event) if not self.after else []
                self.epoch = epoch
            case _:
                pass
        return rule.act(self, event)


class HandoffRule(msgspec.Struct, frozen=True):
    """A phase's rule for an event: the function, and every phase that may follow."""

    act: Callable[..., list[HandoffCommand]]
    leads_to: tuple[Phase, ...]


_P = Phase
RULES: dict[Phase, dict[type, HandoffRule]] = {
    Phase.PREPARING: {
        StandsBy: HandoffRule(standby.note, (_P.PREPARING,)),
        DeployRequested: HandoffRule(preparing.begin, (_P.PREPARING,)),
        Cleared: HandoffRule(preparing.cleared, (_P.PREPARING, _P.ABORTED)),
        Seen: HandoffRule(preparing.seen, (_P.PREPARING, _P.REHEARSING, _P.ABORTED)),
        CannotRead: HandoffRule(preparing.give_up, (_P.PREPARING, _P.ABORTED)),
        Exited: HandoffRule(preparing.give_up, (_P.PREPARING, _P.ABORTED, _P.SUCCEEDING)),
        AbortRequested: HandoffRule(preparing.give_up, (_P.ABORTED,)),
        TimerFired: HandoffRule(preparing.give_up, (_P.PREPARING, _P.ABORTED)),
    },
    Phase.REHEARSING: {
        StandsBy: HandoffRule(standby.note, (_P.REHEARSING,)),
        Cleared: HandoffRule(
            preparing.cleared, (_P.REHEARSING, _P.PROBATION, _P.REVERTING, _P.DONE, _P.ABORTED)
        ),
        Seen: HandoffRule(
            preparing.seen_rehearsing,
            (
                _P.REHEARSING,
                _P.PREPARED,
                _P.WAITING,
                _P.TRANSFERRING,
                _P.PROBATION,
                _P.DONE,
                _P.ABORTED,
                _P.ROLLED_BACK,
            ),
        ),
        CannotRead: HandoffRule(preparing.give_up, (_P.REHEARSING, _P.CANCELLING, _P.ABORTED)),
        Exited: HandoffRule(preparing.give_up, (_P.REHEARSING, _P.CANCELLING, _P.ABORTED, _P.SUCCEEDING)),
        AbortRequested: HandoffRule(preparing.give_up, (_P.CANCELLING, _P.ABORTED)),
        TimerFired: HandoffRule(preparing.give_up, (_P.REHEARSING, _P.CANCELLING, _P.ABORTED)),
    },
    Phase.PREPARED: {
        StandsBy: HandoffRule(standby.note, (_P.PREPARED,)),
        Cleared: HandoffRule(
            preparing.cleared,
            (_P.WAITING, _P.REHEARSING, _P.PROBATION, _P.REVERTING, _P.DONE, _P.ABORTED),
        ),
        Seen: HandoffRule(preparing.seen_prepared, (_P.PREPARED, _P.PROBATION, _P.REVERTING, _P.DONE)),
        CannotRead: HandoffRule(preparing.give_up, (_P.PREPARED, _P.ABORTED)),
        Exited: HandoffRule(preparing.give_up, (_P.PREPARED, _P.ABORTED)),
        AbortRequested: HandoffRule(preparing.give_up, (_P.ABORTED,)),
    },
    Phase.WAITING: {
        StandsBy: HandoffRule(standby.note, (_P.WAITING,)),
        Seen: HandoffRule(
            transfer.seen_waiting,
            (_P.WAITING, _P.TRANSFERRING, _P.PROBATION, _P.ABORTED, _P.ROLLED_BACK),
        ),
        Withdrawn: HandoffRule(transfer.withdrawn, (_P.WAITING, _P.ABORTED)),
        CannotRead: HandoffRule(transfer.cancel, (_P.WAITING, _P.CANCELLING)),
        Exited: HandoffRule(transfer.died, (_P.WAITING, _P.CANCELLING, _P.TRANSFERRING)),
        AbortRequested: HandoffRule(transfer.cancel, (_P.CANCELLING,)),
        TimerFired: HandoffRule(transfer.cancel, (_P.WAITING, _P.CANCELLING)),
    },
    Phase.CANCELLING: {
        StandsBy: HandoffRule(standby.note, (_P.CANCELLING,)),
        Seen: HandoffRule(
            transfer.seen_waiting,
            (_P.CANCELLING, _P.TRANSFERRING, _P.PROBATION, _P.REVERTING, _P.ABORTED, _P.ROLLED_BACK),
        ),
        Withdrawn: HandoffRule(transfer.withdrawn, (_P.CANCELLING, _P.ABORTED)),
        Exited: HandoffRule(transfer.died, (_P.CANCELLING, _P.TRANSFERRING, _P.ABORTED, _P.SUCCEEDING)),
        AbortRequested: HandoffRule(transfer.revoke, (_P.CANCELLING,)),
        TimerFired: HandoffRule(transfer.cancel_again, (_P.CANCELLING,)),
    },
    Phase.TRANSFERRING: {
        StandsBy: HandoffRule(standby.note, (_P.TRANSFERRING,)),
        Seen: HandoffRule(
            transfer.seen,
            (_P.TRANSFERRING, _P.PROBATION, _P.REVERTING, _P.ABORTED, _P.ROLLED_BACK, _P.DONE),
        ),
        Exited: HandoffRule(transfer.died, (_P.TRANSFERRING, _P.ABORTED, _P.SUCCEEDING)),
        # The old worker may learn earlier that the new one took over and then hung.
        Suspected: HandoffRule(probation.suspected, (_P.TRANSFERRING,)),
        AbortRequested: HandoffRule(transfer.revoke, (_P.TRANSFERRING,)),
        TimerFired: HandoffRule(transfer.ask_to_lead, (_P.TRANSFERRING,)),
    },
    Phase.PROBATION: {
        StandsBy: HandoffRule(standby.note, (_P.PROBATION,)),
        Seen: HandoffRule(probation.seen, (_P.PROBATION, _P.ROLLED_BACK)),
        CannotRead: HandoffRule(probation.failed, (_P.PROBATION,)),
        Exited: HandoffRule(probation.died, (_P.PROBATION, _P.REVERTING, _P.DONE)),
        Suspected: HandoffRule(probation.suspected, (_P.PROBATION,)),
        AbortRequested: HandoffRule(probation.revert, (_P.REVERTING,)),
        RollbackRequested: HandoffRule(probation.revert, (_P.REVERTING,)),
        TimerFired: HandoffRule(probation.conclude, (_P.PROBATION, _P.RETIRING)),
    },
    Phase.REVERTING: {
        StandsBy: HandoffRule(standby.note, (_P.REVERTING,)),
        Seen: HandoffRule(probation.seen_reverting, (_P.REVERTING, _P.DONE, _P.ROLLED_BACK)),
        Withdrawn: HandoffRule(probation.cannot_yield, (_P.REVERTING,)),
        CannotRead: HandoffRule(probation.failed, (_P.REVERTING,)),
        Exited: HandoffRule(probation.died, (_P.REVERTING, _P.DONE, _P.ROLLED_BACK, _P.SUCCEEDING)),
        Suspected: HandoffRule(probation.suspected, (_P.REVERTING,)),
        TimerFired: HandoffRule(probation.revert_alarm, (_P.REVERTING, _P.PROBATION)),
    },
    Phase.RETIRING: {
        StandsBy: HandoffRule(standby.note, (_P.RETIRING,)),
        Seen: HandoffRule(probation.seen, (_P.RETIRING, _P.ROLLED_BACK)),
        Exited: HandoffRule(probation.retired, (_P.RETIRING, _P.DONE, _P.SUCCEEDING)),
        TimerFired: HandoffRule(probation.retiring_alarm, (_P.RETIRING,)),
    },
    Phase.SUCCEEDING: {
        StandsBy: HandoffRule(standby.note, (_P.SUCCEEDING,)),
        Seen: HandoffRule(standby.seen, (_P.SUCCEEDING, _P.ABORTED, _P.ROLLED_BACK)),
        Exited: HandoffRule(standby.died, (_P.SUCCEEDING, _P.ABORTED, _P.ROLLED_BACK)),
        TimerFired: HandoffRule(standby.alarm, (_P.SUCCEEDING,)),
    },
    Phase.DONE: {},
    Phase.ABORTED: {},
    Phase.ROLLED_BACK: {},
}

for _rules in RULES.values():
    if _rules:
        _rules[HandoffResumed] = HandoffRule(resume, tuple(Phase))
