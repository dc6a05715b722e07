"""The driver of one handoff: carries out what the state machine `Handoff` decides.

The state machine decides, and has no socket, process or clock; the driver has those and decides nothing. It turns
messages and exits of workers into events of the machine, and commands of the machine into messages, processes, signals
and timers. It publishes each phase and step. One driver drives one deployment, from `begin` to `finished`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from copy import copy
from typing import Protocol

from ...protocol.handoff import handoff_events as terms
from ...protocol.handoff.handoff import RULES, Handoff
from ...protocol.handoff.handoff_events import HandoffCommand, HandoffEvent, Phase
from ...protocol.link import (
    Cancelled,
    Failed,
    Handed,
    Holding,
    Ready,
    Rehearsed,
    Report,
    SupervisorMessage,
    Suspect,
    WorkerMessage,
)
from ..config.config import Config
from ..release.releases import Release
from ..system.timers import REPEAT_AFTER, TimerSet
from ..workers.platform import BotContext
from ..workers.registry import Member
from ..workers.spawn import SpawnError
from .progress import HandoffListener, HandoffProgress, HandoffRecord

__all__ = ["SUCCEED_WITHIN", "HandoffDriver"]

_RETIRE_WITHIN = 10_000_000_000
SUCCEED_WITHIN = 2_000_000_000
"""A standby that has not taken the lease after this time counts as failed."""
_WHY_WITHIN = 300_000_000
"""The old worker can notice the new worker's death before the supervisor knows the reason."""
_LINGER = 100_000_000
_OVERDUE_AFTER = 300_000_000
"""A leader whose tick is overdue for this long, by its last report, may hang. It reports five times a second."""
_SHOWN_TIMES = 20
_SHOWN_EVERY = (100_000_000, 1_000_000_000)
"""The progress of the probation is published this many times, at intervals within these bounds."""


class HandoffWorkers(Protocol):
    """The workers that the driver acts on: see `WorkerPool`. `start` may raise `SpawnError`."""

    def start(
        self,
        worker: str,
        release: Release,
        config: Config,
        leader: str,
        deployment: int,
        drop: tuple[str, ...],
        /,
    ) -> Member: ...
    def send(self, worker: str, message: SupervisorMessage) -> bool: ...
    def free(self, worker: str) -> None: ...
    def dismiss(self, worker: str, why: str) -> None: ...
    def kill(self, worker: str, reason: str) -> None: ...


class HandoffDriver:
    """Drives `handoff` to `release`, run as `config` says, on the workers of `pool`.

    It begins with `begin`, or with `take_up`.
    """

    def __init__(
        self,
        handoff: Handoff,
        run: tuple[Release, Config],
        pool: HandoffWorkers,
        context: BotContext,
        listeners: Iterable[HandoffListener],
    ) -> None:
        self.handoff = handoff
        self.progress = HandoffProgress(handoff.deployment, context)
        self._run = run
        self._settings = settings = run[1].handoff
        self._pool = pool
        self._registry = context.registry
        self._bus = context.bus
        self._platform = context.platform
        self._listeners = tuple(listeners)
        self._drop: tuple[str, ...] = ()
        self._took_over = False
        self._ticked = False
        """The new worker has run a tick as the leader."""
        self._overdue = False
        """The probation's time is up, and the new worker has not ticked yet."""
        self._no_boundary = False
        """The rehearsal ran out of time because the old worker reached no boundary."""
        self._unexplained: terms.Seen | None = None
        """The report of the old worker that leads again, while the reason is not known yet."""
        self._events: deque[HandoffEvent] = deque()
        self._stepping = False
        self._timers = TimerSet(
            self._platform.scheduler,
            {
                "start": settings.start_within,
                "rehearse": settings.rehearse_within,
                "boundary": settings.boundary_within,
                "repeat": REPEAT_AFTER,
                "probation": settings.probation,
                "retire": _RETIRE_WITHIN,
                "linger": _LINGER,
                "succeed": SUCCEED_WITHIN,
                "why": _WHY_WITHIN,
                "show": max(_SHOWN_EVERY[0], min(_SHOWN_EVERY[1], settings.probation // _SHOWN_TIMES)),
            },
            self._timer_fired,
        )

    @property
    def phase(self) -> Phase:
        return self.handoff.phase

    @property
    def ended(self) -> bool:
        return not RULES[self.handoff.phase]

    @property
    def _ordered(self) -> int:
        """The number of the order that the old worker has now, 0 for none."""
        match self.handoff.phase:
            case Phase.WAITING | Phase.CANCELLING:
                return self.handoff.order
            case Phase.REVERTING:
                return self.handoff.order + 1
            case _:
                return 0

    # events

    def begin(self, drop: tuple[str, ...] = ()) -> None:
        """Begin. `drop` names the fields of the state whose values may be lost."""
        self._drop = drop
        self._feed(terms.DeployRequested())

    def take_up(self, kept: HandoffRecord, third: Member | None, last: str, *, cleared: bool) -> None:
        """Resume what an earlier supervisor began. The workers have reported their state and what they did.

        `third` is a worker other than the two that leads, or else one that guards. `last` is the worker that took the
        lease last, dead or alive. `cleared`: the deployment before this one has ended.
        """
        self._took_over = kept.took_over
        self.progress.resume(kept.since)
        old, new = self._registry.get(self.handoff.old), self._registry.get(self.handoff.new)
        if new is not None:
            self.progress.rehearsed = new.rehearsed
            if new.handed is not None and not kept.took_over:
                self._first_tick(new.worker, new.handed)
            self.progress.handed = new.handed
            self.progress.heartbeats = new.event_driven
            self._ticked = new.report is not None and new.report.ticks > 0
        settled = old.report.order if old is not None and old.report is not None else 0
        self._feed(
            terms.HandoffResumed(
                self._found(old), self._found(new), settled, self._found(third), cleared, last
            )
        )
        if self.phase not in (Phase.PREPARING, Phase.REHEARSING):
            self._pool.free(self.handoff.new)
        if self.phase is Phase.PREPARED and not self.progress.holding:
            self._wait_for_turn()
        for member in (old, new):
            holding = member.holding if member is not None else None
            if holding is not None and holding.order == self._ordered:
                self.progress.holding = holding.reason

    def cleared(self, leader: str, epoch: int) -> None:
        """The deployment before this one has ended, and `leader` leads, "" for none."""
        self._feed(terms.Cleared(leader, epoch))

    def abort(self, reason: str) -> None:
        """The operator cancels the deployment."""
        self._feed(terms.AbortRequested(reason))

    def revert(self, reason: str) -> None:
        """The operator asks for a rollback."""
        self._feed(terms.RollbackRequested(reason))

    def conclude(self) -> None:
        """End the probation now, in favour of the new worker."""
        self._timers.disarm("probation")
        self._feed(terms.TimerFired("probation"))

    def heard(self, worker: str, message: WorkerMessage) -> None:
        """Handle a message of any worker. The registry has handled it already."""
        if worker not in (self.handoff.old, self.handoff.new):
            if isinstance(message, Report) and message.role == "leading":
                # The standby has taken over.
                self._feed(self._seen(worker, message))
            return
        match message:
            case Ready():
                self._ready(worker, message)
            case Report():
                if message.imported:
                    self._ready(worker, Ready(message.imported, message.prepared))
                seen = self._seen(worker, message)
                if self._is_unexplained(seen):
                    self._unexplained = seen
                    self._timers.arm("why")
                else:
                    self._feed(seen)
                prepared = message.yielded
                if prepared is not None and prepared.order in (self.handoff.order, self.handoff.order + 1):
                    self.progress.yielded(worker, prepared)
                if worker == self.handoff.new and message.ticks:
                    self._has_ticked()
            case Rehearsed() if worker == self.handoff.new:
                if self.progress.rehearsed is None:
                    self.progress.restored(message)
            case Holding():
                self._held(worker, message)
            case Cancelled():
                self._feed(terms.Withdrawn(worker, message.order))
            case Suspect() if self._ticks(message.leader):
                # The follower itself was stopped or cut off: the leader has ticked since.
                pass
            case Suspect():
                leader = self._registry.get(message.leader)
                decision = leader.open_decision if leader is not None else ""
                self._feed(terms.Suspected(worker, message.leader, message.reason, decision))
            case Handed():
                self._first_tick(worker, message)
            case Failed():
                reason = message.reason
                if worker == self.handoff.new and message.changes is not None:
                    reason += self.progress.compared(message.changes)
                self._feed(terms.CannotRead(worker, reason))
                self._explain()
            case _:
                pass

    def exited(self, worker: str, reason: str) -> None:
        """The process of a worker has ended."""
        if worker == self.handoff.old:
            self._feed(terms.Exited(worker, f"worker {worker} ended: {reason}"))
        elif worker == self.handoff.new:
            self._feed(terms.Exited(worker, reason))
            self._explain()
        else:
            self._feed(terms.Exited(worker, reason))

    def stands_by(self, worker: str) -> None:
        """`worker` is the standby that takes the lease when the leader dies, "" for none."""
        if worker != self.handoff.standby and not self.ended:
            self._feed(terms.StandsBy(worker))

    def close(self) -> None:
        """Stop driving."""
        self._timers.close()

    # from the state machine to workers and events

    def _feed(self, event: HandoffEvent) -> None:
        # Carrying out a command can cause an event, such as a worker that can't be started: handle events in order.
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events:
                before, kept = self.handoff.phase, copy(self.handoff)
                event = self._events.popleft()
                commands = self.handoff.step(event)
                if self.handoff.old != kept.old and not self.ended:
                    self._turned()
                self._moved(before, event)
                if (self.handoff != kept or isinstance(event, terms.DeployRequested)) and not self.ended:
                    self._record()
                for command in commands:
                    self._carry_out(command)
        finally:
            self._stepping = False

    def _carry_out(self, command: HandoffCommand) -> None:
        match command:
            case terms.Spawn(worker=worker):
                self._start(worker)
            case terms.SendTo(worker=worker, message=message):
                self._pool.send(worker, message)
            case terms.Dismiss(worker=worker):
                self._pool.dismiss(worker, self.handoff.reason)
            case terms.Kill(worker=worker, reason=reason):
                self._pool.kill(worker, reason)
            case terms.ArmTimer(name=name):
                if name == "probation":
                    self._overdue = False
                    self._timers.disarm("linger")
                self._timers.arm(name)
            case terms.DisarmTimer(name=name):
                self._timers.disarm(name)
            case terms.Finish():
                self._finish(command)

    def _start(self, worker: str) -> None:
        try:
            member = self._pool.start(
                worker, *self._run, self.handoff.old, self.handoff.deployment, self._drop
            )
        except SpawnError as problem:
            self._feed(terms.Exited(worker, problem.message))
            return
        self.progress.spawned(member)

    def _turned(self) -> None:
        """The deployment before this one was rolled back: another worker is the one to take over from."""
        old = self.handoff.old
        for listener in self._listeners:
            listener.turned(old)
        self.progress.step(
            "turned", f"worker {old} leads: the deployment continues from it", 0, {"worker": old}
        )

    def _moved(self, before: Phase, event: HandoffEvent) -> None:
        """The state machine has taken a step: publish a new phase and do what it requires."""
        phase = self.handoff.phase
        if phase is before:
            return
        if before is Phase.REHEARSING and phase is Phase.ABORTED:
            # Copying the state waits for a boundary too.
            self._no_boundary = event == terms.TimerFired("rehearse") and bool(self.progress.holding)
        if phase is Phase.WAITING:
            # The new worker's heavy work is done: give it every core before it can lead.
            self._pool.free(self.handoff.new)
        self._timers.disarm("show")
        self.progress.entered(phase, before)
        if phase is Phase.PREPARED:
            self._wait_for_turn()
        if phase is Phase.PROBATION:
            self._timer_fired("show")
        if before is Phase.REVERTING and phase is Phase.PROBATION:
            self.progress.step(
                "holding", "the rollback found no boundary in time: the probation begins again"
            )
        if self._leads_now(event, self.handoff.new) and not self._took_over:
            self._took_over = True
            for listener in self._listeners:
                listener.committed()
        elif self._took_over and phase is Phase.ROLLED_BACK and self._other_leads(event):
            self._revert()

    def _wait_for_turn(self) -> None:
        self.progress.held("", f"the probation of deployment {self.handoff.after}")

    def _leads_now(self, event: HandoffEvent, worker: str) -> bool:
        match event:
            case terms.Seen():
                return event.worker == worker and event.role == "leading"
            case terms.HandoffResumed():
                leading = [seen for seen in (event.old, event.new) if seen and seen.role == "leading"]
                return bool(leading) and max(leading, key=lambda seen: seen.epoch).worker == worker
            case _:
                return False

    def _other_leads(self, event: HandoffEvent) -> bool:
        """The old worker leads, or a standby, which runs the same code."""
        match event:
            case terms.Seen(role="leading", worker=worker):
                return worker != self.handoff.new
            case _:
                return self._leads_now(event, self.handoff.old)

    def _finish(self, command: terms.Finish) -> None:
        self._timers.close()
        how = self.progress.finished(command, no_boundary=self._no_boundary, took_over=self._took_over)
        if self._took_over and how.back and not how.leader:
            self._revert()
        for listener in self._listeners:
            listener.finished(how)

    def _record(self) -> None:
        record = HandoffRecord(copy(self.handoff), self.progress.since, self._took_over)
        for listener in self._listeners:
            listener.recorded(record)

    def _revert(self) -> None:
        for listener in self._listeners:
            listener.reverted()

    # from workers to the state machine

    def _found(self, member: Member | None) -> terms.Seen | None:
        if member is None or not member.alive:
            return None
        if member.report is not None:
            return self._seen(member.worker, member.report)
        return terms.Seen(member.worker, "joining", False, False)

    def _seen(self, worker: str, report: Report) -> terms.Seen:
        member = self._registry.get(worker)
        ready = report.role != "joining" or (member is not None and member.ready is not None)
        return terms.Seen(worker, report.role, report.loaded, ready, report.epoch)

    def _is_unexplained(self, seen: terms.Seen) -> bool:
        handoff = self.handoff
        had_led = handoff.phase in (Phase.PROBATION, Phase.RETIRING) or (
            handoff.phase is Phase.TRANSFERRING and handoff.came_between(seen.epoch)
        )
        return (
            had_led
            and (seen.worker, seen.role) == (handoff.old, "leading")
            and seen.epoch > handoff.epoch
            and handoff.new_lives
            and not handoff.reason
        )

    def _ticks(self, worker: str) -> bool:
        """Whether a leader ticks, by its own reports."""
        overdue = self._overdue_of(worker)
        within = self._settings.hang_after
        return overdue is not None and (overdue <= within or self._ticked_within(worker, within))

    def _ticked_within(self, worker: str, within: int) -> bool:
        """Whether a leader has reported a new tick in the last `within` ns.

        A bot that catches up and is always late is overdue for ever, though it ticks.
        """
        member = self._registry.get(worker)
        return member is not None and self._bus.now() - member.ticked_at <= within

    def _may_hang(self) -> bool:
        """Whether the new worker, which leads in its probation, may be hanging at this moment."""
        overdue = self._overdue_of(self.handoff.new)
        return (
            self.handoff.phase is Phase.PROBATION
            and self.handoff.old_lives
            and overdue is not None
            and overdue > _OVERDUE_AFTER
            and not self._ticked_within(self.handoff.new, _OVERDUE_AFTER)
        )

    def _overdue_of(self, worker: str) -> int | None:
        member = self._registry.get(worker)
        return member.overdue(self._platform.wall(), self._platform.mono()) if member is not None else None

    def _explain(self) -> None:
        """Pass on that the old worker leads again: the reason is known now, or will never be."""
        self._timers.disarm("why")
        seen, self._unexplained = self._unexplained, None
        if seen is not None:
            self._feed(seen)

    def _ready(self, worker: str, ready: Ready) -> None:
        if worker == self.handoff.new and self.handoff.phase is Phase.PREPARING:
            self.progress.ready(ready)
        self._feed(terms.Seen(worker, "joining", ready=True))

    def _held(self, worker: str, holding: Holding) -> None:
        if holding.order in (self.handoff.order, self.handoff.order + 1):
            self.progress.held(worker, holding.reason)

    def _look_for_decision(self) -> None:
        """Find out what keeps the old worker from a boundary when the worker can't report it.

        In the rehearsal no order was sent, but the copy waits for a decision that was open before the copy was
        requested. A worker whose handler blocks reads no messages.
        """
        old = self._registry.get(self.handoff.old)
        if self.progress.holding or old is None or not old.open_decision:
            return
        since = min(decision.at for decision in old.decisions.values())
        silent = self._bus.now() - old.reported_at > REPEAT_AFTER
        if silent or (self.handoff.phase is Phase.REHEARSING and since <= self.progress.since):
            self.progress.held(old.worker, f"decision {old.open_decision}")

    def _first_tick(self, worker: str, handed: Handed) -> None:
        if worker == self.handoff.old and not self._ticked_after_handoff(handed):
            return
        member = self._registry.get(worker)
        event_driven = member is not None and member.event_driven
        if worker == self.handoff.new:
            self.progress.handed = handed
            self.progress.heartbeats = event_driven
        self.progress.ticked(worker, handed, heartbeats=event_driven)
        if worker == self.handoff.new:
            self._has_ticked()

    def _ticked_after_handoff(self, handed: Handed) -> bool:
        """Whether the old worker ran its first tick after this handoff. The tick it began with can be reported late."""
        return not self.handoff.after and handed.epoch > self.handoff.granted

    def _has_ticked(self) -> None:
        self._ticked = True
        if self._overdue:
            self._overdue = False
            self._feed(terms.TimerFired("probation"))

    def _timer_fired(self, name: str) -> None:
        match name:
            case "show":
                facts = {"elapsed": self.progress.elapsed, "total": self._settings.probation}
                self.progress.step("probation", "", 0, facts)
                self._timers.arm("show")
            case "probation" if not self._ticked:
                # The tick interval can be longer than the probation. New code that has not ticked is unproven: keep
                # waiting. The old worker checks that it ticks when a tick is due.
                self._overdue = True
            case "probation" | "linger" if self._may_hang():
                # A worker that reports nothing when the probation ends is unproven: wait until it ticks or hangs.
                self._timers.arm("linger")
            case "linger":
                self._feed(terms.TimerFired("probation"))
            case "why":
                self._explain()
            case _:
                if name == "repeat" and self.handoff.phase in (Phase.REHEARSING, Phase.WAITING):
                    self._look_for_decision()
                self._feed(terms.TimerFired(name))
