"""The seat: a worker's view of its own role.

Everything that changes a worker's role is in this file, and this file knows no socket, process, clock or file. The
machine takes events and returns commands; its driver carries them out, in order, and feeds back the results.
It does not know whether its code is old or new: a handoff, a rollback and a transfer to a third worker are the
same transitions.

How it works. A worker joins, follows the leader's state stream, and leads when it holds the lease. The lease is
arbitrated by the kernel, so the machine never concludes that it may lead: it requests the lease (`TakeLease`) and gets
the result (`LeaseTaken`, `LeaseRefused`). A leader that was ordered to yield keeps the order and acts on it at the
first boundary at which no decision is open, no protected window is running, the successor has caught up, there is time
before the next tick, and no task of the bot runs that must end first. If such a task does not end within its bound, the
driver refuses the order (`YieldRefused`), because two processes must never act as the leader. Otherwise this worker
drops the lease and sends the successor the final frame. From there two things can happen, and the kernel decides
between them: the successor takes the lease, or the old leader takes it back after a bound. The worker that is second is
refused and follows the winner, so a late message can cost time but never safety.

A follower with `guard` set takes the lease itself when its leader is gone: that is the old worker in probation, and
the standby. Both may guard at once: the kernel gives the lease to one of them, and the other follows it. A follower
without `guard` waits for an order (`Lead`), because a worker on unproven code does not promote itself. Nor does a
worker whose code was rolled back: it yields without guarding (`YieldTo.back`). The supervisor orders which worker to
follow. In addition, a follower that learns from the kernel that another worker has the lease follows that worker
(`LedBy`), so that it has a leader while no supervisor runs.

Orders have increasing numbers. An order that was carried out or cancelled is settled, and a copy of it that arrives
later changes nothing. The same holds for any event that has no rule in the current role: it is outdated, which is
normal between processes, so it is ignored and raises nothing.

`RULES` is the whole machine: for each role its events, the method of each, and the roles that may follow.
The diagram in docs/protocol.md is drawn from it.
"""

# The table at the end names the machine's own methods.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .link import CancelYield, Follow, Lead, Retire, Stop, YieldTo
from .seat_events import (
    Announce,
    ArmSeatTimer,
    Boundary,
    Cancel,
    CaughtUp,
    Connect,
    DisarmSeatTimer,
    DropLease,
    ExitProcess,
    Fell,
    Hold,
    LeaderGone,
    LeaseRefused,
    LeaseTaken,
    LedBy,
    Received,
    Role,
    SeatCommand,
    SeatEvent,
    SeatTimerFired,
    SendFailing,
    SendFinal,
    SendTook,
    Silent,
    Stale,
    Started,
    StartLeading,
    StreamUnreadable,
    SuccessorDeclined,
    SuccessorTook,
    Suspects,
    TakeLease,
    YieldRefused,
)

__all__ = ["RULES", "Seat", "SeatRule", "what_holds"]


class Seat(msgspec.Struct):
    """A worker's role and what it must remember to move between roles.

    `step` takes one event and returns the commands to carry out, in order. It never raises.
    """

    me: str
    role: Role = Role.JOINING
    leader: str = ""
    """The worker that this one follows, or, in YIELDING, the successor."""
    epoch: int = 0
    loaded: bool = False
    guard: bool = False
    """When the leader is gone, this worker takes the lease without an order."""
    keeps: bool = False
    """This worker led before and is needed for a rollback: it keeps an outdated state rather than leave."""
    reverted: bool = False
    """This worker yields because its code is rolled back: once another leads, it does not promote itself."""
    order: YieldTo | None = None
    """The order to carry out at the next boundary."""
    settled: int = 0
    """The highest order carried out or cancelled."""
    heard: int = 0
    """The order of the final frame by which this worker takes over, 0 when there is none."""
    held: str = ""
    stopping: bool = False
    """The bot stops for good as soon as this worker leads and is at a boundary."""
    dismissed: bool = False
    """This worker leaves as soon as it is certain that another leads."""

    def step(self, event: SeatEvent) -> list[SeatCommand]:
        rule = RULES[self.role].get(type(event))
        return rule.act(self, event) if rule is not None else []

    # joining and following

    def _started(self, event: Started) -> list[SeatCommand]:
        return [Announce()]

    def _follow(self, event: Follow) -> list[SeatCommand]:
        if self.role is Role.FOLLOWING and self.leader == event.leader:
            self.guard = self.guard or event.guard
            return [Announce()]
        self.role = Role.FOLLOWING
        self.leader = event.leader
        self.guard = event.guard
        self.keeps = False
        return [Connect(event.leader), Announce()]

    def _caught_up(self, event: CaughtUp) -> list[SeatCommand]:
        if self.loaded:
            return []
        self.loaded = True
        return [Announce()]

    def _stale(self, event: Stale) -> list[SeatCommand]:
        self.loaded = False
        return [Announce()]

    def _broken(self, event: StreamUnreadable) -> list[SeatCommand]:
        if self.keeps:
            # In probation this worker is needed for a rollback: it keeps the state of the handoff rather than leave.
            return []
        self.role = Role.RETIRED
        return [ExitProcess("fail", event.reason)]

    def _received(self, event: Received) -> list[SeatCommand]:
        if event.leader != self.leader or not self.loaded:
            return []
        self.heard = event.order
        return [TakeLease("handoff")]

    def _lead(self, event: Lead) -> list[SeatCommand]:
        if self.role is Role.JOINING:
            return [TakeLease("first")]
        return [TakeLease("failover")] if self.loaded else [Announce()]

    def _leader_gone(self, event: LeaderGone) -> list[SeatCommand]:
        if event.leader != self.leader:
            return []
        return [TakeLease("failover")] if self.guard and self.loaded else [Announce()]

    def _led_by(self, event: LedBy) -> list[SeatCommand]:
        if event.leader in (self.leader, self.me):
            return []
        self.leader = event.leader
        return [Connect(event.leader), Announce()]

    def _retry(self, event: SeatTimerFired) -> list[SeatCommand]:
        if event.name != "retry" or not (self.guard and self.loaded):
            return []
        return [TakeLease("failover")]

    def _silent(self, event: Silent) -> list[SeatCommand]:
        # Only a caught-up follower may suspect: for a lagging one every leader seems silent.
        return [Suspects(self.leader, event.reason)] if self.guard and self.loaded else []

    def _taken(self, event: LeaseTaken) -> list[SeatCommand]:
        if self.dismissed and event.epoch > self.epoch + 1:
            # The successor led, and died before this worker learned of it. This worker was ordered to leave.
            self.role = Role.RETIRED
            return [DisarmSeatTimer("lease"), DropLease(), ExitProcess("retire")]
        before = self.leader
        order, self.heard = self.heard, 0
        self.settled = max(self.settled, order)
        self.role = Role.LEADING
        self.leader = self.me
        self.epoch = event.epoch
        self.loaded = True
        self.guard = self.keeps = self.dismissed = self.reverted = False
        self.held = ""
        notices: list[SeatCommand] = [SendTook(before, order)] if event.cause == "handoff" else []
        return [
            DisarmSeatTimer("lease"),
            DisarmSeatTimer("retry"),
            *notices,
            StartLeading(event.cause),
            Announce(),
        ]

    def _refused(self, event: LeaseRefused) -> list[SeatCommand]:
        self.heard = 0
        self.role = Role.FOLLOWING
        if event.holder and event.holder not in (self.leader, self.me):
            self.leader = event.holder
            return [Connect(event.holder), Announce()]
        if event.cause == "failover":
            # Its process is about to end: the kernel frees the lease when it has.
            return [ArmSeatTimer("retry")]
        return [Announce()]

    # leading

    def _yield_to(self, event: YieldTo) -> list[SeatCommand]:
        if event.order <= self.settled or event.to == self.me:
            return [Announce()]
        if self.order is None or event.order > self.order.order:
            self.order = event
            self.held = ""
        return []

    def _cancel(self, event: CancelYield) -> list[SeatCommand]:
        self.settled = max(self.settled, event.order)
        if self.order is not None and self.order.order <= event.order:
            self.order = None
            self.held = ""
        return [Cancel(event.order)]

    def _yield_refused(self, event: YieldRefused) -> list[SeatCommand]:
        if self.order is None or self.order.order != event.order:
            return []
        return [Hold(event.order, event.reason), *self._cancel(CancelYield(event.order))]

    def _stop(self, event: Stop) -> list[SeatCommand]:
        self.stopping = True
        return []

    def _boundary(self, event: Boundary) -> list[SeatCommand]:
        if self.stopping:
            if event.decision or event.turn:
                return []
            self.role = Role.RETIRED
            return [ExitProcess("stop")]
        order = self.order
        if order is None:
            return []
        reason = what_holds(event, order)
        if reason:
            if reason == self.held:
                return []
            self.held = reason
            return [Hold(order.order, reason)]
        self.role = Role.YIELDING
        self.leader = order.to
        self.order = None
        self.settled = order.order
        self.reverted = order.back
        return [
            DropLease(),
            SendFinal(order.to, order.order, order.deployment),
            ArmSeatTimer("lease"),
            Announce(),
        ]

    # yielding

    def _successor_took(self, event: SuccessorTook) -> list[SeatCommand]:
        if event.successor != self.leader:
            return []
        return self._step_aside(event.successor, event.epoch)

    def _successor_declined(self, event: SuccessorDeclined) -> list[SeatCommand]:
        return [TakeLease("takeback")] if event.order == self.settled else []

    def _successor_gone(self, event: LeaderGone) -> list[SeatCommand]:
        return [TakeLease("takeback")] if event.leader == self.leader else []

    def _not_taken(self, event: SeatTimerFired) -> list[SeatCommand]:
        return [TakeLease("takeback")] if event.name == "lease" else []

    def _successor_was_first(self, event: LeaseRefused) -> list[SeatCommand]:
        if not event.holder or event.holder == self.me:
            return [ArmSeatTimer("lease")]
        return self._step_aside(event.holder, self.epoch)

    def _dismiss(self, event: Retire) -> list[SeatCommand]:
        """Leave only once another worker leads: if the successor never takes the lease, this worker takes it back."""
        self.dismissed = True
        return []

    def _step_aside(self, leader: str, epoch: int) -> list[SeatCommand]:
        self.leader = leader
        self.epoch = max(self.epoch, epoch)
        if self.dismissed or self.stopping:
            self.role = Role.RETIRED
            return [DisarmSeatTimer("lease"), ExitProcess("retire")]
        self.role = Role.FOLLOWING
        self.guard = self.keeps = not self.reverted
        return [DisarmSeatTimer("lease"), Connect(leader), Announce()]

    # the end

    def _retire(self, event: Retire) -> list[SeatCommand]:
        self.role = Role.RETIRED
        return [ExitProcess("retire")]

    def _fell(self, event: Fell) -> list[SeatCommand]:
        led = self.role is Role.LEADING
        self.role = Role.RETIRED
        notices: list[SeatCommand] = [DropLease(), SendFailing(event.reason)] if led else []
        return [*notices, ExitProcess("fail", event.reason)]


def what_holds(boundary: Boundary, order: YieldTo) -> str:
    """Return what keeps a leader from carrying out `order` at this boundary, "" when nothing does."""
    if not boundary.successor:
        return "the new worker"
    if boundary.decision:
        return f"decision {boundary.decision}"
    if boundary.turn:
        return boundary.turn
    if boundary.window and not order.force:
        return f"window {boundary.window}"
    if not boundary.slack:
        return "too little time before the next tick"
    return boundary.task


class SeatRule(msgspec.Struct, frozen=True):
    """A role's rule for an event: the method, and every role that may follow."""

    act: Callable[..., list[SeatCommand]]
    leads_to: tuple[Role, ...]


_J, _F, _L, _Y, _R = Role.JOINING, Role.FOLLOWING, Role.LEADING, Role.YIELDING, Role.RETIRED

RULES: dict[Role, dict[type, SeatRule]] = {
    Role.JOINING: {
        Started: SeatRule(Seat._started, (_J,)),
        Follow: SeatRule(Seat._follow, (_F,)),
        Lead: SeatRule(Seat._lead, (_J,)),
        LeaseTaken: SeatRule(Seat._taken, (_L,)),
        LeaseRefused: SeatRule(Seat._refused, (_F,)),
        Retire: SeatRule(Seat._retire, (_R,)),
        Stop: SeatRule(Seat._retire, (_R,)),
        Fell: SeatRule(Seat._fell, (_R,)),
    },
    Role.FOLLOWING: {
        Follow: SeatRule(Seat._follow, (_F,)),
        CaughtUp: SeatRule(Seat._caught_up, (_F,)),
        Stale: SeatRule(Seat._stale, (_F,)),
        StreamUnreadable: SeatRule(Seat._broken, (_F, _R)),
        Received: SeatRule(Seat._received, (_F,)),
        Lead: SeatRule(Seat._lead, (_F,)),
        LeaderGone: SeatRule(Seat._leader_gone, (_F,)),
        LedBy: SeatRule(Seat._led_by, (_F,)),
        Silent: SeatRule(Seat._silent, (_F,)),
        SeatTimerFired: SeatRule(Seat._retry, (_F,)),
        LeaseTaken: SeatRule(Seat._taken, (_L,)),
        LeaseRefused: SeatRule(Seat._refused, (_F,)),
        Retire: SeatRule(Seat._retire, (_R,)),
        Stop: SeatRule(Seat._retire, (_R,)),
        Fell: SeatRule(Seat._fell, (_R,)),
    },
    Role.LEADING: {
        YieldTo: SeatRule(Seat._yield_to, (_L,)),
        CancelYield: SeatRule(Seat._cancel, (_L,)),
        Boundary: SeatRule(Seat._boundary, (_L, _Y, _R)),
        YieldRefused: SeatRule(Seat._yield_refused, (_L,)),
        Stop: SeatRule(Seat._stop, (_L,)),
        Fell: SeatRule(Seat._fell, (_R,)),
    },
    Role.YIELDING: {
        SuccessorTook: SeatRule(Seat._successor_took, (_Y, _F, _R)),
        SuccessorDeclined: SeatRule(Seat._successor_declined, (_Y,)),
        LeaderGone: SeatRule(Seat._successor_gone, (_Y,)),
        SeatTimerFired: SeatRule(Seat._not_taken, (_Y,)),
        LeaseTaken: SeatRule(Seat._taken, (_L, _R)),
        LeaseRefused: SeatRule(Seat._successor_was_first, (_Y, _F, _R)),
        Retire: SeatRule(Seat._dismiss, (_Y,)),
        Stop: SeatRule(Seat._stop, (_Y,)),
        Fell: SeatRule(Seat._fell, (_R,)),
    },
    Role.RETIRED: {},
}
