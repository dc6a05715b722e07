"""Leading: a worker's part while it holds the lease.

Which step of the bot's is next, what a boundary looks like to the seat, how followers are served, and the frames with
which an epoch begins and ends.
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
from ..model.handler_types import InDoubt
from ..replication.interfaces import WorkerIO
from ..replication.state_stream import StateStream
from .bracing import Bracing
from .command_answers import CommandAnswers
from .command_turns import ReceivedCommand
from .decision_log import DecisionLog
from .report_counters import ReportCounters
from .steps import TurnStep
from .turns import Bot, Turn, Turns

__all__ = ["Leading", "LeaseLost"]

_PUMP_FOR = 2_000_000
_PUMP_STOPS = 500_000
"""Copies are sent for this long at a time, and not in the last moment before a tick."""
_WITHOUT_PAUSE = 8
"""After so many turns one after the other, a copy goes on in the turns' time, a chunk each."""
_SLACK_WITHIN = 1_000_000_000
_KINDS: tuple[Kind, ...] = ("tick", "event", "timer", "command")
_STEPS = {kind: f"on_{kind}" for kind in _KINDS}
_REFUSED = object()
"""The result of a command that raised: it was answered already."""


class LeaseLost(NeverblinkError):
    """A turn is due, and this process no longer has the lease."""


class Leading:
    """See the module."""

    def __init__(
        self, me: Assignment, bot: Bot, parts: StateStream, counters: ReportCounters, io: WorkerIO
    ) -> None:
        self._replica, self.writer, self._publisher = parts
        self.answers = CommandAnswers(self._replica, io)
        self.turns = Turns(bot, parts, io)
        self.decisions = DecisionLog(parts, io, self._turn_seq)
        counters.next_tick = self.turns.next_tick
        self._bracing = Bracing(self._publisher, io.clock, io.final_frames)
        self._me = me
        self._bot = bot
        self._counters = counters
        self._io = io
        self._clock = io.clock
        self.handed: Handed | None = None
        """The report of the first tick since this worker leads, or led last."""
        self._waiting = (0, 0)
        """The order that waits for a boundary, and since when."""
        self._deferred: dict[str, stream.Subscribe] = {}
        self._without_pause = 0
        """Turns since there was time for anything else."""

    @property
    def seq(self) -> int | None:
        """The grid index of the tick that runs, or else of the last one that ran; None before the first."""
        turn = self.turns.current
        return turn.tick.seq if turn is not None and turn.tick is not None else self._replica.seq

    # beginning and ending an epoch

    def take_over(self, cause: Cause, before: str, order: int, deployment: int) -> TurnStep:
        """This worker is able to tick: the step that opens its epoch. Raises `StateError` and `JournalError`."""
        replica, io = self._replica, self._io
        # Before anything is sent: a worker that cannot lead must not announce it, or the other one leaves.
        self.turns.check_untouched()
        last = replica.last
        left = last.about if last is not None and isinstance(last.about, Yielded) else None
        self._publisher.begin_leading()
        replica.inbox.put_in_order()
        if replica.frozen or replica.leaders.version > replica.schema.version:
            # What others hold by now has a schema that this code does not write.
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
        self._counters.took_over(order, blackout, tuple(Doubt(one.id, one.name, one.at) for one in doubts))
        self.turns.begin_leading(_cause(cause, before))
        turn = self.turns.lead_turn(about, lambda: self._bot.call_lead(doubts))
        return TurnStep("on_lead", turn.call, turn)

    def boundary(self, order: YieldTo | None) -> seat.Boundary | None:
        """This moment between two turns, and what keeps the leader from yielding in it.

        None: nothing does, but the successor is still making ready.
        """
        now = self._clock.mono()
        if order is not None and order.order != self._waiting[0]:
            self._waiting = order.order, now
        # A bot that is always late has no slack ever, and perhaps it is being deployed to cure that.
        in_a_hurry = now - self._waiting[1] > _SLACK_WITHIN
        boundary = seat.Boundary(
            decision=self.decisions.open_name,
            window=self.turns.window_open(),
            slack=not self.writer.busy and (in_a_hurry or self.turns.slack()),
            successor=order is None or self._publisher.caught_up(order.to),
        )
        if order is None or what_holds(boundary, order):
            return boundary
        if not self._bracing.ready(order, now):
            return None
        # As before each turn: the successor must not get a state that was changed outside a turn.
        self.turns.check_untouched()
        return boundary

    def send_final(self, to: str, order: int, deployment: int) -> bool:
        """Send the successor the frame that closed the epoch; return False when it cannot be reached."""
        publisher, closing = self._publisher, self.turns.closing
        assert closing is not None
        _, body, position = closing
        final = stream.leader_codec.encode(
            stream.Final(order, deployment, body, position, self._replica.inbox.pending())
        )
        sent = self._bracing.hand(order, to, final) or self._io.to_follower(to, final)
        self.turns.closed(to)
        if sent:
            self._io.watch(to, publisher.pid_of(to))
        return sent

    def failing(self, reason: str) -> None:
        """Tell all followers that this worker leaves without a successor."""
        self._publisher.failing(reason)

    def step_aside(self) -> None:
        """Another worker leads."""
        self._publisher.forget()
        self._deferred.clear()
        self.writer.let_go()

    # turns

    def next(self) -> TurnStep | None:
        """The turn that is due, None when none is. Raises `LeaseLost`."""
        if self._deferred:
            self.serve()
        turn = self.turns.next()
        if turn is None:
            return None
        self._without_pause += 1
        if self._without_pause > _WITHOUT_PAUSE:
            # No time is left between turns, and still followers need their copies and the journal has to roll.
            self._publisher.hurry()
            self.writer.hurry()
        if not self._io.lease.held:
            raise LeaseLost("the lease was lost without having been dropped: something closed its file")
        return TurnStep(_STEPS[turn.kind], turn.call, turn)

    def note_begun(self, asked: ReceivedCommand) -> None:
        """A turn with commands has begun: should this process die of one, its successor knows."""
        for item, name, args in asked.begun:
            self.decisions.note_begun(item, name, args)

    def finish(self, turn: Turn, value: Any) -> None:
        """Close a turn whose handler returned `value`. Raises `StateError` and `JournalError`."""
        frame = self.turns.finish(turn, value)
        if turn.tick is not None:
            handed = self._counters.ticked(frame)
            if handed is not None:
                self.handed = handed
                self._io.tell(handed)
        if turn.asked is not None:
            for item in turn.items:
                if item.kind == "command":
                    self._answer(item, turn, turn.asked, value)
            if turn.asked.pause is not None or turn.asked.change is not None:
                self._io.tell(self._counters.report())

    def refuse(self, turn: Turn, problem: BaseException, said: str) -> None:
        """Close the turn of a command whose handler raised."""
        self.turns.keep_settings(turn)
        self.answers.refuse(turn.items[0], problem, said)
        self.finish(turn, _REFUSED)

    def _answer(self, item: Item, turn: Turn, asked: ReceivedCommand, value: Any) -> None:
        key = item.key
        if key in asked.cut:
            self.answers.cut_off(item)
        elif key in asked.refused:
            self.answers.turn_away(item, asked.refused[key])
        elif value is _REFUSED:
            pass  # answered with what it raised
        elif key in asked.told:
            self.answers.give(item, asked.told[key])
        else:
            self.answers.give(item, turn.tick.answers.get(key) if turn.tick is not None else value)

    def abandon(self) -> None:
        """The handler raised: the turn has no frame."""
        self.turns.abandon()

    def wake_at(self, now: int, order: YieldTo | None) -> int:
        """When something is due next, CLOCK_MONOTONIC ns."""
        wall = self._clock.wall()
        due = self.turns.next_due(wall)
        if order is not None:
            # The order may be waiting for this window to close.
            due = min(due, self.turns.window_closes() or due)
            if self._bracing.until:
                return min(self._bracing.until, now + due - wall)
        return now + due - wall

    def rests_until(self) -> int:
        """When something is due next (CLOCK_MONOTONIC, ns), when nothing can be done until then; 0 when something can.

        Right after a turn.
        """
        if self._deferred or self._publisher.copying or self.writer.has_work:
            return 0
        at = self.turns.rests_until
        if at:
            self._without_pause = 0
        return at

    # followers

    def from_follower(self, worker: str, message: stream.FollowerMessage) -> SeatEvent | None:
        """A message from a follower; return it as an event of the seat, or None."""
        match message:
            case stream.Subscribe():
                self._deferred[worker] = message
            case stream.Ack():
                self._publisher.ack(worker, message)
            case stream.Offer(items=items):
                self._replica.inbox.admit(items)
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
        """Serve the followers that asked for the state. Only at a boundary, because only there it is a state."""
        while self._deferred:
            self._publisher.subscribe(self._deferred.pop(next(iter(self._deferred))))

    def pump(self, now: int) -> bool:
        """Use the time until something is due for copies under way, the followers' first; return whether more could be
        done at once."""
        if not (self._publisher.copying or self.writer.has_work):
            self._without_pause = 0
            return False
        until = min(now + _PUMP_FOR, self.wake_at(now, None) - _PUMP_STOPS)
        if until <= now:
            return False
        self._without_pause = 0
        busy = self._publisher.pump(self._clock.mono, until)
        return self.writer.pump(self._clock.mono, until) or busy

    def _turn_seq(self) -> int | None:
        """The grid index of the turn that is open, or after which it is; None when none is open."""
        if not self.turns.open:
            return None
        turn = self.turns.current
        return turn.tick.seq if turn is not None and turn.tick is not None else self._replica.seq or 0


def _cause(cause: Cause, before: str) -> str:
    """The cause that is recorded for ticks that no process ran."""
    match cause:
        case "handoff":
            return "the handoff"
        case "takeback":
            return "the handoff, which was taken back"
        case "first" if not before:
            return "the bot was down"
        case _:
            return f"{before or 'the leader'} died"
