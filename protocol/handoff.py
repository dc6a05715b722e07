"""The handoff: the supervisor's view of one deployment.

Everything that decides what happens to a deployment is in this file, and this file knows no socket, process or clock.
It sees what the two workers report and what the kernel says of their processes, and answers with what to send, to
arm and to kill.

How it works. The new worker is spawned, gets ready, follows the old one and restores the real state: all that can go
wrong there ends in ABORTED, and the old worker has noticed nothing. Then the old one is ordered to yield. From that
moment the supervisor is not in charge: the two workers transfer the lease among themselves, and this machine follows
what they report. It believes only roles. A worker that reports LEADING holds the lease, whatever was ordered before;
that is why a lost message, a late cancellation or a supervisor that was away ends in a true picture. Reports of two
workers can overtake each other; of two that lead, the one with the higher epoch is the truth. Orders are
repeated until the reports show that they were carried out, which is safe because a worker settles each order once.

A third worker, the standby, may take the lease when the leader dies (`StandsBy` says that there is one). Then the
deployment is over, whatever it was waiting for: one that reports LEADING is the truth, whoever it is. When everybody
else is dead the machine waits for the standby rather than to say that nobody leads.

A deployment can begin while the one before it is in its probation (`after`). It prepares and rehearses beside whoever
leads, and orders nothing until the one before has ended (`Cleared`): until then who leads is for that one to find out,
so the death of the leader, or another one, changes nothing here. When somebody else leads in the end, the rehearsal is
repeated on that one's state.

A supervisor can end and another one come back to the deployment. The machine is data, and kept; what it missed is not
told again, so it is `Found` with what the two workers are by then, and goes to the phase that this speaks for. What
was kept last may be behind what was done last, by the one step that was not written any more: an order can be out that
the machine does not know of.

The one thing it never does is to conclude that somebody may lead. It kills, and the kernel frees the lease, and a
worker takes it.

`RULES` is the whole machine: for each phase the events it answers to, the method, and the phases that may follow. An
event without a place in the current phase changes nothing. The diagram in docs/protocol.md is drawn from it.
"""

# The table at the end names the machine's own methods.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import msgspec

from .handoff_terms import (
    NO_BOUNDARY,
    Abort,
    Arm,
    Begin,
    CannotRead,
    Cleared,
    Disarm,
    Dismiss,
    Exited,
    Finish,
    Found,
    HandoffCommand,
    HandoffEvent,
    Kill,
    Phase,
    Revert,
    RungOut,
    Seen,
    Send,
    Spawn,
    StandsBy,
    Suspected,
    Withdrawn,
)
from .link import CancelYield, Follow, Lead, Retire, YieldTo

__all__ = [
    "NO_BOUNDARY",
    "RULES",
    "Abort",
    "Arm",
    "Begin",
    "CannotRead",
    "Cleared",
    "Disarm",
    "Dismiss",
    "Exited",
    "Finish",
    "Found",
    "Handoff",
    "HandoffCommand",
    "HandoffEvent",
    "Kill",
    "Phase",
    "Revert",
    "Rule",
    "RungOut",
    "Seen",
    "Send",
    "Spawn",
    "StandsBy",
    "Suspected",
    "Withdrawn",
]


class Handoff(msgspec.Struct):
    """One deployment: from `old` to `new`. `step` takes one event and returns commands in order. It never raises.

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

    def step(self, event: HandoffEvent) -> list[HandoffCommand]:
        rule = RULES[self.phase].get(type(event))
        if rule is None:
            return []
        match event:
            case Exited(worker=worker):
                if worker not in (self.old, self.new, self.standby):
                    return []
                self._note_death(event)
                if worker not in (self.old, self.new):
                    return self._alone() if self.phase is Phase.SUCCEEDING else []
            case Seen(role="leading", epoch=epoch) if epoch:
                if epoch < self.epoch:
                    # Two workers' reports arrive in any order: this one was sent before the newer leader took over.
                    return []
                if event.worker not in (self.old, self.new):
                    return self._succeeded(event) if not self.after else []
                self.epoch = epoch
            case _:
                pass
        return rule.act(self, event)

    # a third worker

    def _stands_by(self, event: StandsBy) -> list[HandoffCommand]:
        if self.phase is not Phase.SUCCEEDING:
            self.standby = event.worker
        return []

    def _succeeded(self, event: Seen) -> list[HandoffCommand]:
        """A worker that is none of the two leads: it took the lease when its leader had died."""
        if event.epoch == self.epoch:
            return []
        # A taking of the lease that nobody reported was the new worker's.
        led = (
            self.committed
            or self.phase in _NEW_LEADS
            or (self.phase not in _BEFORE and self.came_between(event.epoch))
        )
        reason = self.reason or f"the leader died, and {event.worker} went on"
        self.epoch = event.epoch
        return [
            Dismiss(self.new),
            *self._finish(Phase.ROLLED_BACK if led else Phase.ABORTED, reason, event.worker),
        ]

    def _wait_for_standby(self, reason: str) -> list[HandoffCommand]:
        self.phase = Phase.SUCCEEDING
        self.reason = reason
        alarms: list[HandoffCommand] = [Disarm(name) for name in _ALARMS]
        return [*alarms, Dismiss(self.new), Send(self.standby, Lead()), Arm("repeat"), Arm("succeed")]

    def _succeeding_alarm(self, event: RungOut) -> list[HandoffCommand]:
        match event.name:
            case "repeat":
                return [Send(self.standby, Lead()), Arm("repeat")]
            case "succeed":
                return [Kill(self.standby, _STOPPED), Disarm("repeat")]
            case _:
                return []

    def _alone(self) -> list[HandoffCommand]:
        return self._finish(Phase.ROLLED_BACK if self.committed else Phase.ABORTED, self.reason)

    def _seen_succeeding(self, event: Seen) -> list[HandoffCommand]:
        """Reports of the two are old news; that the standby leads is seen before the table is asked."""
        return []

    def _still(self, event: Exited) -> list[HandoffCommand]:
        """The new worker, which was dismissed, has ended: the standby is what we wait for."""
        return []

    # before anything is at stake

    def _begin(self, event: Begin) -> list[HandoffCommand]:
        return [Spawn(self.new), Arm("start")]

    def _seen_preparing(self, event: Seen) -> list[HandoffCommand]:
        if event.worker != self.new or not event.ready:
            return []
        self.phase = Phase.REHEARSING
        return [Disarm("start"), *self._have_it_follow(), Arm("rehearse"), Arm("repeat")]

    def _seen_rehearsing(self, event: Seen) -> list[HandoffCommand]:
        if self.doubt and _is_under_way(event, self.old if not self.after else "", self.new):
            self.phase = Phase.WAITING
            return [Disarm("rehearse"), *self._seen_waiting(event)]
        if event.worker != self.new or not event.loaded or event.role != "following":
            return []
        if self.rehearse_only:
            return [Dismiss(self.new), *self._finish(Phase.DONE, "rehearsed")]
        if self.after:
            self.phase = Phase.PREPARED
            return [Disarm("rehearse"), Disarm("repeat")]
        return [Disarm("rehearse"), *self._order_the_old()]

    def _seen_prepared(self, event: Seen) -> list[HandoffCommand]:
        leads = (event.worker, event.role) == (self.new, "leading")
        return self._enter_probation() if leads else []

    def _order_the_old(self) -> list[HandoffCommand]:
        self.phase = Phase.WAITING
        return [self._yield_to_new(), Arm("boundary"), Arm("repeat")]

    def _cleared(self, event: Cleared) -> list[HandoffCommand]:
        """The deployment before this one has ended: whoever leads now is the one to take over from."""
        self.after = 0
        if not event.leader:
            return [Dismiss(self.new), *self._finish(Phase.ABORTED, "nobody leads to take over from")]
        self.epoch = max(self.epoch, event.epoch)
        if event.leader == self.new:
            return self._enter_probation()
        as_before = event.leader == self.old and self.old_lives
        self.old, self.old_lives, self.granted = event.leader, True, event.epoch
        self.standby = "" if self.standby == self.old else self.standby
        if self.phase is Phase.PREPARING or (self.phase is Phase.REHEARSING and as_before):
            return []
        if as_before:
            return self._order_the_old()
        self.phase = Phase.REHEARSING
        return [Send(self.new, Follow(self.old)), Arm("rehearse"), Arm("repeat")]

    def _give_up(self, event: CannotRead | Exited | Abort | RungOut) -> list[HandoffCommand]:
        """Nothing was ordered yet: the old worker leads and knows nothing of this."""
        match event:
            case RungOut("repeat") if self.phase is Phase.REHEARSING:
                return [*self._have_it_follow(), Arm("repeat")]
            case RungOut(name) if name != _PATIENCE[self.phase]:
                return []
            case CannotRead(worker=worker) if worker != self.new:
                return []
            case Exited(worker=worker) if worker == self.old and self.after:
                return [Disarm("rehearse"), Disarm("repeat")]
            case _:
                pass
        if self.after:
            return [Dismiss(self.new), *self._finish(Phase.ABORTED, _why(event, self.phase))]
        if not self.old_lives and self.standby:
            return self._wait_for_standby(_why(event, self.phase))
        if self.doubt and self.old_lives:
            self.reason = _why(event, self.phase)
            self.phase = Phase.CANCELLING
            return [Disarm("rehearse"), Send(self.old, CancelYield(self.order)), Arm("repeat")]
        return [Dismiss(self.new), *self._finish(Phase.ABORTED, _why(event, self.phase))]

    # the order is out

    def _seen_waiting(self, event: Seen) -> list[HandoffCommand]:
        match event:
            case Seen(worker=self.new, role="leading"):
                return self._enter_probation()
            case Seen(worker=self.old, role="yielding" | "following"):
                self.phase = Phase.TRANSFERRING
                return [Disarm("boundary"), Arm("repeat")]
            case _:
                return []

    def _seen_transferring(self, event: Seen) -> list[HandoffCommand]:
        match event:
            case Seen(worker=self.new, role="leading"):
                return self._enter_probation()
            case Seen(worker=self.old, role="leading", epoch=epoch) if self.came_between(epoch):
                return self._rolled_back()
            case Seen(worker=self.old, role="leading"):
                return [
                    Dismiss(self.new),
                    *self._finish(Phase.ABORTED, self.reason or "the new worker did not take over"),
                ]
            case _:
                return []

    def came_between(self, epoch: int) -> bool:
        """Whether the new worker led, if only for a moment, before the old one did under `epoch`.

        Each taking of the lease is one epoch: one that nobody reported was the new worker's.
        """
        return bool(self.granted) and epoch > self.granted + 1

    def _cancel(self, event: Abort | RungOut | CannotRead) -> list[HandoffCommand]:
        match event:
            case RungOut("repeat"):
                return [self._yield_to_new(), Arm("repeat")]
            case RungOut(name) if name != "boundary":
                return []
            case CannotRead(worker=worker) if worker != self.new:
                return []
            case Abort():
                self.revoked = True
            case _:
                pass
        self.reason = _why(event, self.phase)
        self.phase = Phase.CANCELLING
        return [Disarm("boundary"), Send(self.old, CancelYield(self.order)), Arm("repeat")]

    def _withdrawn(self, event: Withdrawn) -> list[HandoffCommand]:
        if event.worker != self.old or event.order != self.order:
            return []
        return [Dismiss(self.new), *self._finish(Phase.ABORTED, self.reason)]

    def _cancel_again(self, event: RungOut) -> list[HandoffCommand]:
        if event.name != "repeat":
            return []
        return [Send(self.old, CancelYield(self.order)), Arm("repeat")]

    def _died_in_transfer(self, event: Exited) -> list[HandoffCommand]:
        if not self.old_lives and not self.new_lives:
            if self.standby:
                return self._wait_for_standby("both workers ended")
            return self._finish(Phase.ABORTED, "both workers ended")
        if event.worker == self.new:
            self.reason = self.reason or _why(event, self.phase)
            if self.phase is Phase.WAITING:
                self.phase = Phase.CANCELLING
                return [Disarm("boundary"), Send(self.old, CancelYield(self.order)), Arm("repeat")]
            # The old one takes the lease back by itself, unless it does nothing any more.
            return [Arm("succeed")] if self.phase is Phase.TRANSFERRING else []
        self.phase = Phase.TRANSFERRING
        if self.standby:
            # One of the two takes the lease by itself; the standby's code is the proven one.
            self.reason = self.reason or _why(event, self.phase)
            return [Disarm("boundary"), Arm("repeat")]
        # The old worker died with the state in the new one's hands and in the journal: go forward.
        return [Disarm("boundary"), Send(self.new, Lead()), Arm("repeat"), Arm("succeed")]

    def _ask_to_lead(self, event: RungOut) -> list[HandoffCommand]:
        """Nobody has led for a while: whoever is left may. The kernel refuses one that comes too late.

        The old worker takes the lease back by itself when the new one does not come, but not when it hangs.
        """
        left = self.new if self.new_lives else self.old
        match event.name:
            case "repeat":
                return [Send(left, Lead()), Arm("repeat")]
            case "succeed":
                return [Kill(left, _STOPPED)]
            case _:
                return []

    def _revoke(self, event: Abort) -> list[HandoffCommand]:
        self.revoked = True
        self.reason = event.reason
        return []

    # the new worker leads

    def _enter_probation(self) -> list[HandoffCommand]:
        self.phase = Phase.PROBATION
        self.committed = True
        self.after = 0
        settled: list[HandoffCommand] = [Disarm("boundary"), Disarm("repeat")]
        if not self.old_lives:
            return [*settled, *self._finish(Phase.DONE, "the old worker ended during the transfer")]
        # A false start of the way out (a boundary not reached in time, after all reached) is not a reason to revert.
        if self.revoked:
            return [*settled, *self._revert(Revert(self.reason))]
        self.reason = ""
        return [*settled, Arm("probation")]

    def _seen_probation(self, event: Seen) -> list[HandoffCommand]:
        if event.worker != self.old or event.role != "leading":
            return []
        return self._rolled_back()

    def _seen_reverting(self, event: Seen) -> list[HandoffCommand]:
        if (event.worker, event.role) == (self.new, "leading") and 0 < self.asked < self.epoch:
            # It yielded, nobody took over, and it took the lease back: that order is settled, so it takes another one.
            # Once: a frame that was lost comes through then, and beside an old worker that hangs each try costs ticks.
            self.order += 2
            self.asked = 0
            return [self._yield_back(), Arm("repeat")]
        return self._seen_probation(event)

    def _died_in_probation(self, event: Exited) -> list[HandoffCommand]:
        if not self.old_lives and not self.new_lives:
            reason = self.reason or "both workers ended"
            if self.standby:
                return self._wait_for_standby(reason)
            return self._finish(Phase.ROLLED_BACK, reason)
        if event.worker == self.new:
            # The old one guards: it takes the lease as soon as the kernel frees it, and reports.
            self.reason = _why(event, self.phase) if not self.reason else self.reason
            self.phase = Phase.REVERTING
            return [Disarm("probation"), Send(self.old, Lead()), Arm("repeat"), Arm("succeed")]
        return self._finish(Phase.DONE, "the old worker ended in probation: there was no instant way back")

    def _failed_in_probation(self, event: CannotRead) -> list[HandoffCommand]:
        if event.worker == self.new:
            self.reason = self.reason or event.reason
        return []

    def _suspected(self, event: Suspected) -> list[HandoffCommand]:
        if event.by != self.old or event.leader != self.new or event.decision or not self.new_lives:
            return []
        self.reason = self.reason or event.reason
        return [Kill(self.new, event.reason)]

    def _revert(self, event: Revert | Abort) -> list[HandoffCommand]:
        self.reason = event.reason
        self.phase = Phase.REVERTING
        self.asked = self.epoch
        return [Disarm("probation"), self._yield_back(), Arm("boundary"), Arm("repeat")]

    def _revert_alarm(self, event: RungOut) -> list[HandoffCommand]:
        match event.name:
            case "repeat" if self.new_lives:
                return [self._yield_back(), Arm("repeat")]
            case "repeat":
                return [Send(self.old, Lead()), Arm("repeat")]
            case "succeed":
                return [Kill(self.old, _STOPPED)]
            case "boundary" if self.new_lives:
                # The new worker reached no boundary in time. It goes on leading, and its probation begins again.
                self.phase = Phase.PROBATION
                self.reason = ""
                self.asked = 0
                self.order += 2
                return [Disarm("repeat"), Send(self.new, CancelYield(self.order - 1)), Arm("probation")]
            case _:
                return []

    def _conclude(self, event: RungOut) -> list[HandoffCommand]:
        if event.name != "probation":
            return []
        self.phase = Phase.RETIRING
        return [Send(self.old, Retire()), Arm("retire"), Arm("repeat")]

    def _retiring_alarm(self, event: RungOut) -> list[HandoffCommand]:
        match event.name:
            case "repeat":
                return [Send(self.old, Retire()), Arm("repeat")]
            case "retire":
                return [Kill(self.old, "it did not retire in time")]
            case _:
                return []

    def _retired(self, event: Exited) -> list[HandoffCommand]:
        if self.old_lives:
            return []
        if not self.new_lives and self.standby:
            return self._wait_for_standby(self.reason or "both workers ended")
        return self._finish(Phase.DONE, self.reason)

    def _rolled_back(self) -> list[HandoffCommand]:
        return [
            Dismiss(self.new),
            *self._finish(Phase.ROLLED_BACK, self.reason or "the old worker took the lease back"),
        ]

    # found again

    def _found(self, event: Found) -> list[HandoffCommand]:
        """Go to the phase that the workers' reports speak for. They were made one after the other, not at once."""
        old, new, third = event.old, event.new, event.third
        if self.after and event.cleared and _leads(third):
            # The deployment before this one was rolled back.
            old, third, self.old = third, None, third.worker
        self.after = 0 if event.cleared else self.after
        self.old_lives, self.new_lives = _stays(old), _stays(new)
        leading = [seen for seen in (old, new, third) if _leads(seen)]
        leader = max(leading, key=lambda seen: seen.epoch, default=None)
        if self.after and (leader is None or leader is not new):
            return self._found_behind(new)
        self.standby = third.worker if third is not None and not _leads(third) else ""
        if leader is not None and leader is third:
            return self._succeeded(leader)
        self.epoch = max([self.epoch, *(seen.epoch for seen in leading)])
        if leader is None:
            return self._found_without_a_leader(old, new)
        if leader is new:
            return self._found_led_by_new(old)
        return self._found_led_by_old(leader, new, event.settled)

    def _found_led_by_new(self, old: Seen | None) -> list[HandoffCommand]:
        if old is None:
            retired = self.phase is Phase.RETIRING
            return self._finish(Phase.DONE, self.reason if retired else f"the old worker {_UNSEEN}")
        if not self.old_lives or self.phase is Phase.RETIRING:
            self.phase = Phase.RETIRING
            return [Send(self.old, Retire()), Arm("retire"), Arm("repeat")]
        if self.phase is Phase.REVERTING:
            self.order += 2 if self.asked < self.epoch else 0
            return self._revert(Revert(self.reason))
        return self._enter_probation()

    def _found_behind(self, new: Seen | None) -> list[HandoffCommand]:
        """Who leads is for the deployment before this one to find out."""
        if new is None or not self.new_lives:
            return [Dismiss(self.new), *self._finish(Phase.ABORTED, f"the new worker {_UNSEEN}")]
        return self._found_preparing(new)

    def _found_preparing(self, new: Seen) -> list[HandoffCommand]:
        if new.role == "joining":
            self.phase = Phase.PREPARING
            return [Arm("start"), *self._seen_preparing(new)]
        self.phase = Phase.REHEARSING
        self.doubt = not self.rehearse_only
        return [Arm("rehearse"), *self._have_it_follow(), Arm("repeat"), *self._seen_rehearsing(new)]

    def _found_led_by_old(self, old: Seen, new: Seen | None, settled: int) -> list[HandoffCommand]:
        if self.phase in _NEW_LEADS or self.came_between(old.epoch):
            if new is None:
                self.reason = self.reason or f"the new worker {_UNSEEN}"
            return self._rolled_back()
        phase = self.phase
        if phase is Phase.CANCELLING:
            return [Send(self.old, CancelYield(self.order)), Arm("repeat")]
        if phase is Phase.TRANSFERRING or settled >= self.order:
            reason = self.reason or "the new worker did not take over"
            return [Dismiss(self.new), *self._finish(Phase.ABORTED, reason)]
        if new is None or not self.new_lives:
            self.reason = f"the new worker {_UNSEEN}"
            self.phase = Phase.CANCELLING
            return [Send(self.old, CancelYield(self.order)), Arm("repeat")]
        if phase is Phase.WAITING:
            return [self._yield_to_new(), Arm("boundary"), Arm("repeat")]
        return self._found_preparing(new)

    def _found_without_a_leader(self, old: Seen | None, new: Seen | None) -> list[HandoffCommand]:
        led = self.phase in _NEW_LEADS
        if not self.old_lives and not self.new_lives:
            if self.standby:
                return self._wait_for_standby(f"both workers {_UNSEEN}")
            ended = (
                Phase.DONE if self.phase is Phase.RETIRING else Phase.ROLLED_BACK if led else Phase.ABORTED
            )
            return self._finish(ended, f"both workers {_UNSEEN}")
        if not self.old_lives:
            return self._found_without_the_old(new, led)
        if not self.new_lives:
            led = led or (old is not None and old.role == "following")
            self.phase = Phase.REVERTING if led else Phase.TRANSFERRING
            self.reason = self.reason or f"the new worker {_UNSEEN}"
            return [Send(self.old, Lead()), Arm("repeat"), Arm("succeed")]
        if self.phase is Phase.RETIRING:
            return [Send(self.old, Retire()), Arm("retire"), Arm("repeat")]
        if led or (new is not None and new.role == "yielding"):
            self.phase = Phase.REVERTING
            return [Arm("boundary"), Arm("repeat")]
        self.phase = Phase.TRANSFERRING
        return [Arm("repeat")]

    def _found_without_the_old(self, new: Seen | None, led: bool) -> list[HandoffCommand]:
        if led:
            return self._finish(Phase.DONE, f"the old worker {_UNSEEN}")
        if self.phase in _BEFORE or new is None or not new.loaded:
            if self.standby:
                return self._wait_for_standby(f"the old worker {_UNSEEN}")
            return [Dismiss(self.new), *self._finish(Phase.ABORTED, f"the old worker {_UNSEEN}")]
        self.phase = Phase.TRANSFERRING
        return [Send(self.new, Lead()), Arm("repeat"), Arm("succeed")]

    # helpers

    def _note_death(self, event: Exited) -> None:
        if event.worker == self.old:
            self.old_lives = False
        elif event.worker == self.new:
            self.new_lives = False
        else:
            self.standby = ""

    def _have_it_follow(self) -> list[HandoffCommand]:
        # Beside a leader that died, the new worker finds the next one by itself.
        return [Send(self.new, Follow(self.old))] if self.old_lives else []

    def _yield_to_new(self) -> Send:
        return Send(self.old, YieldTo(self.order, self.new, self.deployment, self.force))

    def _yield_back(self) -> Send:
        # Past a protected window only when the deployment was allowed to: a rollback is a handoff too.
        return Send(self.new, YieldTo(self.order + 1, self.old, self.deployment, self.force))

    def _finish(self, phase: Phase, reason: str, third: str = "") -> list[HandoffCommand]:
        self.phase = phase
        self.reason = reason
        new_leads = phase is Phase.DONE and not self.rehearse_only
        leader = third or (self.new if new_leads else self.old)
        alive = third or (self.new_lives if new_leads else self.old_lives)
        alarms: list[HandoffCommand] = [Disarm(name) for name in _ALARMS]
        return [*alarms, Finish(phase, reason, leader if alive else "")]


_BEFORE = (Phase.PREPARING, Phase.REHEARSING, Phase.PREPARED)
_NEW_LEADS = (Phase.PROBATION, Phase.REVERTING, Phase.RETIRING)
_UNSEEN = "ended while no supervisor looked"
_STOPPED = "it did not take the lease in time"
_ALARMS = ("start", "rehearse", "boundary", "repeat", "probation", "retire", "succeed")
_PATIENCE = {Phase.PREPARING: "start", Phase.REHEARSING: "rehearse"}


def _leads(seen: Seen | None) -> TypeGuard[Seen]:
    return seen is not None and seen.role == "leading"


def _stays(seen: Seen | None) -> bool:
    return seen is not None and seen.role != "retired"


def _is_under_way(event: Seen, old: str, new: str) -> bool:
    """Whether the report is one of a handoff that was ordered."""
    return (event.worker, event.role) == (new, "leading") or (
        event.worker == old and event.role in ("yielding", "following")
    )


def _why(event: HandoffEvent, phase: Phase) -> str:
    match event:
        case RungOut("start"):
            return "the new worker was not ready in time"
        case RungOut("rehearse"):
            return "the new worker did not catch up in time"
        case RungOut("boundary"):
            return NO_BOUNDARY
        case CannotRead(reason=reason) | Abort(reason=reason):
            return reason
        case Exited(worker=worker, reason=reason):
            return reason or f"{worker} ended while {phase.value}"
        case _:
            return type(event).__name__


class Rule(msgspec.Struct, frozen=True):
    """How a phase answers an event: the method, and every phase it may lead to."""

    act: Callable[..., list[HandoffCommand]]
    leads_to: tuple[Phase, ...]


_P = Phase
RULES: dict[Phase, dict[type, Rule]] = {
    Phase.PREPARING: {
        StandsBy: Rule(Handoff._stands_by, (_P.PREPARING,)),
        Begin: Rule(Handoff._begin, (_P.PREPARING,)),
        Cleared: Rule(Handoff._cleared, (_P.PREPARING, _P.ABORTED)),
        Seen: Rule(Handoff._seen_preparing, (_P.PREPARING, _P.REHEARSING, _P.ABORTED)),
        CannotRead: Rule(Handoff._give_up, (_P.PREPARING, _P.ABORTED)),
        Exited: Rule(Handoff._give_up, (_P.PREPARING, _P.ABORTED, _P.SUCCEEDING)),
        Abort: Rule(Handoff._give_up, (_P.ABORTED,)),
        RungOut: Rule(Handoff._give_up, (_P.PREPARING, _P.ABORTED)),
    },
    Phase.REHEARSING: {
        StandsBy: Rule(Handoff._stands_by, (_P.REHEARSING,)),
        Cleared: Rule(Handoff._cleared, (_P.REHEARSING, _P.PROBATION, _P.REVERTING, _P.DONE, _P.ABORTED)),
        Seen: Rule(
            Handoff._seen_rehearsing,
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
        CannotRead: Rule(Handoff._give_up, (_P.REHEARSING, _P.CANCELLING, _P.ABORTED)),
        Exited: Rule(Handoff._give_up, (_P.REHEARSING, _P.CANCELLING, _P.ABORTED, _P.SUCCEEDING)),
        Abort: Rule(Handoff._give_up, (_P.CANCELLING, _P.ABORTED)),
        RungOut: Rule(Handoff._give_up, (_P.REHEARSING, _P.CANCELLING, _P.ABORTED)),
    },
    Phase.PREPARED: {
        StandsBy: Rule(Handoff._stands_by, (_P.PREPARED,)),
        Cleared: Rule(
            Handoff._cleared,
            (_P.WAITING, _P.REHEARSING, _P.PROBATION, _P.REVERTING, _P.DONE, _P.ABORTED),
        ),
        Seen: Rule(Handoff._seen_prepared, (_P.PREPARED, _P.PROBATION, _P.REVERTING, _P.DONE)),
        CannotRead: Rule(Handoff._give_up, (_P.PREPARED, _P.ABORTED)),
        Exited: Rule(Handoff._give_up, (_P.PREPARED, _P.ABORTED)),
        Abort: Rule(Handoff._give_up, (_P.ABORTED,)),
    },
    Phase.WAITING: {
        StandsBy: Rule(Handoff._stands_by, (_P.WAITING,)),
        Seen: Rule(
            Handoff._seen_waiting,
            (_P.WAITING, _P.TRANSFERRING, _P.PROBATION, _P.ABORTED, _P.ROLLED_BACK),
        ),
        CannotRead: Rule(Handoff._cancel, (_P.WAITING, _P.CANCELLING)),
        Exited: Rule(Handoff._died_in_transfer, (_P.WAITING, _P.CANCELLING, _P.TRANSFERRING)),
        Abort: Rule(Handoff._cancel, (_P.CANCELLING,)),
        RungOut: Rule(Handoff._cancel, (_P.WAITING, _P.CANCELLING)),
    },
    Phase.CANCELLING: {
        StandsBy: Rule(Handoff._stands_by, (_P.CANCELLING,)),
        Seen: Rule(
            Handoff._seen_waiting,
            (_P.CANCELLING, _P.TRANSFERRING, _P.PROBATION, _P.REVERTING, _P.ABORTED, _P.ROLLED_BACK),
        ),
        Withdrawn: Rule(Handoff._withdrawn, (_P.CANCELLING, _P.ABORTED)),
        Exited: Rule(Handoff._died_in_transfer, (_P.CANCELLING, _P.TRANSFERRING, _P.ABORTED, _P.SUCCEEDING)),
        Abort: Rule(Handoff._revoke, (_P.CANCELLING,)),
        RungOut: Rule(Handoff._cancel_again, (_P.CANCELLING,)),
    },
    Phase.TRANSFERRING: {
        StandsBy: Rule(Handoff._stands_by, (_P.TRANSFERRING,)),
        Seen: Rule(
            Handoff._seen_transferring,
            (_P.TRANSFERRING, _P.PROBATION, _P.REVERTING, _P.ABORTED, _P.ROLLED_BACK, _P.DONE),
        ),
        Exited: Rule(Handoff._died_in_transfer, (_P.TRANSFERRING, _P.ABORTED, _P.SUCCEEDING)),
        # The old worker may know before we do that the new one took over, and then hung.
        Suspected: Rule(Handoff._suspected, (_P.TRANSFERRING,)),
        Abort: Rule(Handoff._revoke, (_P.TRANSFERRING,)),
        RungOut: Rule(Handoff._ask_to_lead, (_P.TRANSFERRING,)),
    },
    Phase.PROBATION: {
        StandsBy: Rule(Handoff._stands_by, (_P.PROBATION,)),
        Seen: Rule(Handoff._seen_probation, (_P.PROBATION, _P.ROLLED_BACK)),
        CannotRead: Rule(Handoff._failed_in_probation, (_P.PROBATION,)),
        Exited: Rule(Handoff._died_in_probation, (_P.PROBATION, _P.REVERTING, _P.DONE)),
        Suspected: Rule(Handoff._suspected, (_P.PROBATION,)),
        Abort: Rule(Handoff._revert, (_P.REVERTING,)),
        Revert: Rule(Handoff._revert, (_P.REVERTING,)),
        RungOut: Rule(Handoff._conclude, (_P.PROBATION, _P.RETIRING)),
    },
    Phase.REVERTING: {
        StandsBy: Rule(Handoff._stands_by, (_P.REVERTING,)),
        Seen: Rule(Handoff._seen_reverting, (_P.REVERTING, _P.ROLLED_BACK)),
        CannotRead: Rule(Handoff._failed_in_probation, (_P.REVERTING,)),
        Exited: Rule(Handoff._died_in_probation, (_P.REVERTING, _P.DONE, _P.ROLLED_BACK, _P.SUCCEEDING)),
        Suspected: Rule(Handoff._suspected, (_P.REVERTING,)),
        RungOut: Rule(Handoff._revert_alarm, (_P.REVERTING, _P.PROBATION)),
    },
    Phase.RETIRING: {
        StandsBy: Rule(Handoff._stands_by, (_P.RETIRING,)),
        Seen: Rule(Handoff._seen_probation, (_P.RETIRING, _P.ROLLED_BACK)),
        Exited: Rule(Handoff._retired, (_P.RETIRING, _P.DONE, _P.SUCCEEDING)),
        RungOut: Rule(Handoff._retiring_alarm, (_P.RETIRING,)),
    },
    Phase.SUCCEEDING: {
        StandsBy: Rule(Handoff._stands_by, (_P.SUCCEEDING,)),
        Seen: Rule(Handoff._seen_succeeding, (_P.SUCCEEDING, _P.ABORTED, _P.ROLLED_BACK)),
        Exited: Rule(Handoff._still, (_P.SUCCEEDING, _P.ABORTED, _P.ROLLED_BACK)),
        RungOut: Rule(Handoff._succeeding_alarm, (_P.SUCCEEDING,)),
    },
    Phase.DONE: {},
    Phase.ABORTED: {},
    Phase.ROLLED_BACK: {},
}

for _rules in RULES.values():
    if _rules:
        _rules[Found] = Rule(Handoff._found, tuple(Phase))
