"""Leading: the part of a worker that holds the lease.

It decides which step of the bot is next and whether a boundary allows a handoff, serves followers, and makes the frames
that begin and end an epoch.
"""

from __future__ import annotations

from typing import Any

from ...protocol import seat_events as seat
from ...protocol import stream
from ...protocol.assignment import Assignment
from ...protocol.errors import NeverblinkError
from ...protocol.frame import Cause, Item, Kind, Led, Yielded
from ...protocol.link import Doubt, Handed, YieldTo
from ...protocol.seat import what_holds
from ...protocol.seat_events import SeatEvent
from ..io.output import report
from ..model.handler_types import InDoubt
from ..model.lost_time import cause_of_transfer
from ..model.verifier import VerificationFailed
from ..replication.interfaces import WorkerIO
from ..replication.publisher import StateStream
from .bracing import Bracing
from .command_turns import CommandAnswers, ReceivedCommand
from .decision_log import DecisionLog
from .lead_tasks import LeadTasks
from .report_counters import ReportCounters
from .turns import Bot, Turn, Turns, TurnStep
from .yield_preparation import YieldPreparation

__all__ = ["HEARTBEAT", "Leading", "LeaseLost"]

_PUMP_FOR = 2_000_000
_PUMP_STOPS = 500_000
"""Copies are sent for at most _PUMP_FOR at a time, and not in the last _PUMP_STOPS before a tick, ns."""
_WITHOUT_PAUSE = 8
"""After so many turns without a pause, each turn sends one chunk of a copy."""
_VERIFIED_EVERY = 64
"""Without free time, what was written is read back after this many turns, a little each time."""
_SLACK_WITHIN = 1_000_000_000
_KINDS: tuple[Kind, ...] = ("tick", "event", "timer", "command")
_STEPS = {kind: f"on_{kind}" for kind in _KINDS}
HEARTBEAT = "heartbeat"
"""The name of the step that calls no handler."""
_REFUSED = object()
"""The result of a command that raised, which was answered already."""


class LeaseLost(NeverblinkError):
    """A turn is due, but this process no longer has the lease."""


class Leading:
    """Runs the turns of `bot` and serves its followers."""

    def __init__(
        self, me: Assignment, bot: Bot, parts: StateStream, counters: ReportCounters, io: WorkerIO
    ) -> None:
        self._replica, self.writer, self._publisher = parts
        self.answers = CommandAnswers(self._replica, io)
        self.turns = Turns(bot, parts, io)
        self.decisions = DecisionLog(parts, io, self._turn_seq)
        counters.next_tick = self.turns.next_tick
        self.tasks = LeadTasks(io.clock, io.wake)
        self.preparation = YieldPreparation(bot, self.tasks)
        counters.tasks, counters.preparation = self.tasks, self.preparation
        self._bracing = Bracing(self._publisher, io.clock, io.final_frames)
        self._me = me
        self._bot = bot
        self._counters = counters
        self._io = io
        self._clock, self._mono = io.clock, io.clock.mono
        self._cells, self._verifier = self._replica.cells, self._replica.verifier
        self.handed: Handed | None = None
        """The report of the first tick of this worker's present or last epoch."""
        self._waiting = (0, 0)
        """The order that waits for a boundary, and since when, ns."""
        self._deferred: dict[str, stream.Subscribe] = {}
        self._without_pause = 0
        """How many turns have run without free time in between."""

    @property
    def seq(self) -> int | None:
        """The grid index of the running tick, else of the last tick; None before the first."""
        turn = self.turns.current
        return turn.tick.seq if turn is not None and turn.tick is not None else self._replica.seq

    # beginning and ending an epoch

    def take_over(self, cause: Cause, before: str, order: int, deployment: int) -> TurnStep:
        """Begin an epoch: return its first step, `on_lead`. Raises `StateError` and `JournalError`."""
        replica, io = self._replica, self._io
        # Before anything is sent: if this worker announced that it leads, the other would leave.
        self.turns.check_untouched()
        last = replica.last
        left = last.about if last is not None and isinstance(last.about, Yielded) else None
        self._publisher.begin_leading()
        replica.inbox.lead()
        if replica.frozen or replica.leader_schema.version > replica.schema.version:
            # The followers' states have a schema that this code does not write.
            self.turns.reset_frame()
        blackout = self._clock.mono() - left.mono if left is not None else 0
        if cause == "handoff":
            io.to_leader(stream.Took(replica.epoch, order))
            replica.forget_decisions()
        doubts = tuple(
            InDoubt(opened.id, opened.name, opened.args, opened.at) for opened in replica.in_doubt()
        )
        about = Led(
            worker=self._me.worker,
            release=self._me.release,
            cause=cause,
            before=before,
            order=order,
            deployment=deployment,
            blackout=blackout,
            in_doubt=tuple(doubt.id for doubt in doubts),
        )
        self._counters.took_over(
            order, blackout, tuple(Doubt(doubt.id, doubt.name, doubt.at) for doubt in doubts)
        )
        self.turns.begin_leading(cause_of_transfer(cause, before))
        turn = self.turns.lead_turn(about, lambda: self._bot.call_lead(doubts))
        return TurnStep("on_lead", turn.call, turn)

    def boundary(self, order: YieldTo | None) -> seat.Boundary | None:
        """Describe this moment between two turns: what keeps the leader from yielding now.

        Returns None when nothing does, but the successor is not prepared yet.
        """
        now = self._clock.mono()
        if order is not None and order.order != self._waiting[0]:
            self._waiting = order.order, now
        # A bot that is always late never has slack, and the deployment may be meant to cure that.
        ignore_slack = now - self._waiting[1] > _SLACK_WITHIN
        preparation = self.preparation
        waits = preparation.waits(now)
        ignore_slack = ignore_slack or preparation.sealed or bool(waits)
        boundary = seat.Boundary(
            decision=self.decisions.open_name,
            window=self.turns.window_open() or preparation.window(self._clock.wall()),
            slack=not self.writer.busy and (ignore_slack or self.turns.slack(self._bracing.needs(order))),
            successor=order is None
            or (self._publisher.caught_up(order.to) and not self._replica.inbox.unmet(order.to)),
            task=waits,
        )
        if order is None or what_holds(boundary, order):
            return boundary
        if not preparation.tasks_ended(order, now) or not self._bracing.ready(order, now):
            return None
        # Before the last frame, so that it does not lengthen the blackout.
        self._io.sockets.stop_accepting()
        # As before each turn: the successor must not get changes made outside a turn.
        self.turns.check_untouched()
        return boundary if preparation.ready() else None

    def lead_on(self) -> TurnStep:
        """The step of a leader that has prepared to yield, and leads on: `on_lead` again."""
        turn = self.turns.lead_on_turn(lambda: self._bot.call_lead(()))
        return TurnStep("on_lead", turn.call, turn)

    def send_final(self, to: str, order: int, deployment: int) -> bool:
        """Send the successor the final frame; return False when it cannot be reached."""
        publisher, closing = self._publisher, self.turns.closing
        assert closing is not None
        _, body, position = closing
        inbox = self._replica.inbox
        # What was reported in a frame is known, in its order.
        pending = inbox.unreported()
        final = stream.leader_codec.encode(
            stream.Final(
                order, deployment, body, position, pending, inbox.aside_of(pending) if pending else ()
            )
        )
        sent = self._bracing.hand(order, to, final) or self._io.to_follower(to, final)
        self.turns.closed(to)
        if sent:
            self._io.watch(to, publisher.pid_of(to))
        return sent

    def failing(self, reason: str) -> None:
        """Tell all followers that this worker leaves without handing over."""
        self._publisher.failing(reason)

    def step_aside(self) -> None:
        """Stop leading."""
        self._replica.inbox.follow()
        self._publisher.forget()
        self._deferred.clear()
        self.writer.let_go()

    # turns

    def next(self) -> TurnStep | None:
        """The turn that is due, None when there is none. Raises `LeaseLost`."""
        if self._deferred:
            self.serve()
        turn = self.turns.next()
        if turn is None:
            return None
        self._without_pause += 1
        if self._without_pause > _WITHOUT_PAUSE:
            # There is no time between turns, but followers need their copies and the journal must roll.
            self._publisher.hurry()
            self.writer.hurry()
            if self._without_pause % _VERIFIED_EVERY == 0:
                self._hurry_to_verify()
        if not self._io.lease.held:
            raise LeaseLost(
                "the lease was lost without being dropped: some code of this process has opened and closed its file"
            )
        return TurnStep(
            _STEPS[turn.kind] if turn.tick is None or self._bot.ticks else HEARTBEAT, turn.call, turn
        )

    def note_begun(self, asked: ReceivedCommand) -> None:
        """Record the commands of a turn that has begun, for a successor if this process dies in them."""
        for item, name, args in asked.begun:
            self.decisions.note_begun(item, name, args)

    def finish(self, turn: Turn, value: Any) -> None:
        """Close a turn whose handler returned `value`. Raises `StateError` and `JournalError`."""
        frame = self.turns.finish(turn, value)
        verifier = self._verifier
        if verifier.strict and (problems := verifier.check_changed(self._replica.state)):
            raise VerificationFailed(problems)
        handed = None
        if turn.tick is not None:
            handed = self._counters.ticked(frame)
        elif turn.kind in _STEPS:
            self._counters.turns += 1
        elif turn.kind == "lead" and not self._bot.ticks and self.turns.on_time:
            handed = self._counters.ready_to_run(frame)
        if handed is not None:
            self.handed = handed
            self._io.tell(handed)
        if turn.asked is not None:
            for item in turn.items:
                if item.kind == "command":
                    self._answer(item, turn, turn.asked, value)
            if turn.asked.pause is not None or turn.asked.change is not None:
                self._io.tell(self._counters.report())

    def refuse(self, turn: Turn, problem: BaseException, description: str) -> None:
        """Close the turn of a command whose handler raised."""
        self.turns.keep_settings(turn)
        self.answers.failed(turn.items[0], problem, description)
        self.finish(turn, _REFUSED)

    def _answer(self, item: Item, turn: Turn, asked: ReceivedCommand, value: Any) -> None:
        key = item.key
        if key in asked.cut:
            self.answers.interrupted(item)
        elif key in asked.refused:
            self.answers.refuse(item, asked.refused[key])
        elif value is _REFUSED:
            pass  # `refuse` has answered it
        elif key in asked.answers:
            self.answers.give(item, asked.answers[key])
        else:
            self.answers.give(item, turn.passed.answers.get(key) if turn.passed is not None else value)

    def wake_at(self, now: int, order: YieldTo | None) -> int:
        """When something is due next, CLOCK_MONOTONIC ns."""
        wall = self._clock.wall()
        due = self.turns.next_due(wall)
        if order is not None:
            # The order may wait for the end of this window.
            due = min(due, self.turns.window_closes() or due)
            prepared = self.preparation.wake_at(now)
            if prepared:
                due = min(due, wall + prepared - now)
            if self._bracing.until:
                return min(self._bracing.until, now + due - wall)
        return now + due - wall

    def rests_until(self) -> int:
        """When something is due next (CLOCK_MONOTONIC, ns); 0 when there is work before that. Right after a turn."""
        if self._deferred or self._publisher.copying or self.writer.has_work:
            return 0
        # As `verifier.waits`, at the price of no call.
        cells, verifier = self._cells, self._verifier
        if (cells.unread or cells.unread_rows or verifier.rows) and self._mono() >= verifier.next_at:
            return 0
        at = self.turns.rests_until
        if at:
            self._without_pause = 0
        return at

    # followers

    def from_follower(self, worker: str, message: stream.FollowerMessage) -> SeatEvent | None:
        """Process a message from a follower; return an event for the seat, or None."""
        match message:
            case stream.Subscribe():
                self._deferred[worker] = message
            case stream.Ack():
                self._publisher.ack(worker, message)
            case stream.Offer(items=items):
                self._replica.inbox.admit(items, worker)
            case stream.Trial(schema=schema, changes=changes):
                problem = self._replica.try_read(schema, changes)
                self._io.to_follower(worker, stream.leader_codec.encode(stream.Verdict(problem)))
            case stream.Took(epoch=epoch):
                return seat.SuccessorTook(worker, epoch)
            case stream.Declined(order=order):
                return seat.SuccessorDeclined(order)
            case stream.Braced(order=order):
                self._bracing.answered(worker, order)
        return None

    def serve(self) -> None:
        """Serve the followers that have subscribed. Only at a boundary, because only then is the state consistent."""
        while self._deferred:
            self._publisher.subscribe(self._deferred.pop(next(iter(self._deferred))))

    def pump(self, now: int) -> bool:
        """Use free time for copies, followers' first, then the journal's; return whether there is more to do."""
        if not (self._publisher.copying or self.writer.has_work):
            self._without_pause = 0
            return False
        until = min(now + _PUMP_FOR, self.wake_at(now, None) - _PUMP_STOPS)
        if until <= now:
            return False
        self._without_pause = 0
        busy = self._publisher.pump(self._clock.mono, until)
        return self.writer.pump(self._clock.mono, until) or busy

    def verify(self) -> bool:
        """Read back what was written, in the time until something is due; return whether that changed what is known."""
        verifier, mono = self._verifier, self._mono
        if not verifier.waits(mono):
            return False
        self._without_pause = 0
        changed = verifier.pump(self._replica.state, mono, self.wake_at(mono(), None) - _PUMP_STOPS)
        if changed:
            self._report_problems()
        return changed

    def _hurry_to_verify(self) -> None:
        verifier, mono = self._verifier, self._mono
        if verifier.waits(mono) and verifier.hurry(self._replica.state, mono):
            self._report_problems()

    def _report_problems(self) -> None:
        """Log what was found. The next heartbeat tells the supervisor."""
        for problem in self._verifier.stamp(self._replica.seq or 0, self._clock.wall()):
            report(f"neverblink: {problem.text}")

    def _turn_seq(self) -> int | None:
        """The grid index of the open turn, or of the tick before it; None when no turn is open."""
        if not self.turns.open:
            return None
        turn = self.turns.current
        return turn.tick.seq if turn is not None and turn.tick is not None else self._replica.seq or 0
