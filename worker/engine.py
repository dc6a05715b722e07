"""The engine: one worker, as far as it needs no socket, no event loop and no user code's help.

It drives the `Seat` machine. What comes in (the supervisor's orders, the stream, a death, an alarm) becomes an event of
the machine; what the machine commands is carried out here, with the parts that each know one thing: turns, replica,
follower, publisher, decisions. What the bot's own code has to do comes out as a `Step`, one at a time: whoever runs the
engine (an event loop, a plain `for` loop, a test) takes `next_step()`, calls it, and says `done` or `raised`.

While a step runs, messages may come in: they are taken in at once, except that a copy of the state waits for the next
boundary, since only there it is a state.
"""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from ..protocol import link, seat, stream
from ..protocol.assignment import Assignment
from ..protocol.errors import NeverblinkError
from ..protocol.frame import Cause, Led, Yielded
from ..protocol.seat import Role, Seat, SeatCommand, SeatEvent
from .answers import Answers
from .decision_log import DecisionLog
from .follower import Copied, Follower, Gone, Judged, Lost, News, TakeOver, Unreadable
from .inbox import Inbox
from .migration import Migrations
from .moments import InDoubt
from .outside import Outside
from .publisher import Publisher
from .rehearsal import Rehearsal
from .replica import Replica
from .state import Cells, StateError
from .takeover import begin, catch_up
from .tally import Tally
from .turns import Bot, Turn, Turns

__all__ = ["Engine", "Step"]

_RETRY = 20_000_000
_TRIAL_AGAIN = 500_000_000
_PUMP_FOR = 2_000_000
_PUMP_STOPS = 500_000
"""Copies are sent for this long at a time, and not in the last moment before a tick."""
_SLACK_WITHIN = 1_000_000_000
_REFUSED = object()
"""What a command has returned that raised: its answer was given."""


class Step(msgspec.Struct):
    """Something the bot's code has to do now: a turn, or a hook between turns. Call it, await what it returns."""

    name: str
    call: Callable[[], Any]
    turn: Turn | None = None


class Engine:
    """One worker running `bot`. `hello` is how it introduces itself."""

    def __init__(
        self,
        me: Assignment,
        hello: link.Hello,
        bot: Bot,
        cells: Cells,
        migrations: Migrations,
        inbox: Inbox,
        outside: Outside,
    ) -> None:
        self.bot = bot
        self.inbox = inbox
        self.seat = Seat(me.worker)
        self.replica = Replica(cells, cells.schema, migrations, inbox)
        self.publisher = Publisher(self.replica, outside.to_follower)
        self.turns = Turns(bot, self.replica, self.publisher, outside)
        cells.guard_by(self.turns)
        self.follower = Follower(me.worker, hello.pid, self.replica, outside)
        self.decisions = DecisionLog(self.replica, self.publisher, outside, self.turn_seq)
        self.left: seat.Leave | None = None
        """How this worker has left: nothing more is to be done, and its process may end."""
        self._me = me
        self._hello = hello
        self._outside = outside
        self._clock = outside.clock
        self._tally = Tally(self.seat, self.replica, self.publisher)
        self._hooks: deque[Step] = deque()
        self._running: Step | None = None
        self._started = False
        self._imported = 0
        self._began = 0
        self._resume: Cause | None = None
        self._untold: list[seat.SendTook | seat.Announce] = []
        """What is to be said once this worker is able to tick, and not before: it is in the blackout."""
        self._leave: seat.Leave | None = None
        self._rehearsal = Rehearsal(self.replica, outside)
        self._answers = Answers(self.replica, outside)
        self._deployment = 0
        self._order = 0
        self._waiting = (0, 0)
        """The order that waits for a boundary, and since when."""
        self._led = False
        """This worker has led, and `on_yield` has not run since."""
        self._deferred: dict[str, stream.Subscribe] = {}
        self._alarms: dict[str, int] = {"pulse": 0}
        self._waits = {"lease": me.lease_within, "retry": _RETRY, "trial": _TRIAL_AGAIN, "pulse": me.pulse}

    # --- what is asked of it ----------------------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        return self.seat.role

    @property
    def leaving(self) -> bool:
        """It is about to leave, or has left."""
        return self._leave is not None or self.left is not None

    def turn_seq(self) -> int | None:
        """The grid index of the turn that is open, or after which it is; None when none is open."""
        if not self.turns.open:
            return None
        running = self._running
        if running is not None and running.turn is not None and running.turn.tick is not None:
            return running.turn.tick.seq
        return self.replica.seq or 0

    # --- what comes in ----------------------------------------------------------------------------------------------

    def start(self, imported: int) -> None:
        """Introduce this worker; the bot's `on_start` comes first. `imported`: how long importing it took, ns."""
        self._imported = imported
        self._began = self._clock.mono()
        self._outside.tell(self._hello)
        self._hooks.append(Step("on_start", self.bot.call_start))

    def ordered(self, message: link.SupervisorMessage) -> None:
        """The supervisor said something."""
        match message:
            case link.Welcome():
                self._outside.tell(self._tally.report())
            case link.Identify():
                self._outside.tell(self._hello)
                self._outside.tell(self._tally.report())
            case link.Rejected(reason=reason):
                # Whoever sits there now: a bot that ticks is not ended by a message.
                if self.role not in (Role.LEADING, Role.YIELDING):
                    self.fail("link", reason)
            case link.Run():
                self._answers.asked(message)
            case link.Lead() if not self._started:
                pass
            case _:
                self.feed(message)

    def from_leader(self, message: stream.LeaderMessage) -> None:
        """The leader we follow said something."""
        if self.role in (Role.LEADING, Role.YIELDING, Role.RETIRED):
            return
        for news in self.follower.receive(message):
            self._hear(news)

    def from_follower(self, worker: str, message: stream.FollowerMessage) -> None:
        """A follower of ours said something."""
        match message:
            case stream.Subscribe():
                self._deferred[worker] = message
                self._serve()
            case stream.Ack():
                self.publisher.ack(worker, message)
            case stream.Offer(items=items):
                self.inbox.admit(items)
            case stream.Trial(schema=schema, changes=changes):
                problem = self.replica.try_read(schema, changes)
                self._outside.to_follower(worker, stream.leader_codec.encode(stream.Verdict(problem)))
            case stream.Took(epoch=epoch):
                self.feed(seat.HeirTook(worker, epoch))
            case stream.Declined(order=order):
                self.feed(seat.HeirDeclined(order))

    def died(self, worker: str) -> None:
        """The process of another worker has ended."""
        self.feed(seat.LeaderGone(worker))

    def on_time(self) -> None:
        """Look at the alarms; also while a step runs."""
        now = self._clock.mono()
        for name, at in list(self._alarms.items()):
            if at > now:
                continue
            del self._alarms[name]
            match name:
                case "pulse":
                    self._pulse(now)
                case "trial":
                    self._ask()
                case _:
                    self.feed(seat.Alarm(name))

    def fail(self, phase: str, reason: str, problem: BaseException | None = None) -> None:
        """This worker cannot go on: say so, and leave."""
        trace = "".join(traceback.format_exception(problem)) if problem is not None else ""
        sys.stderr.write(trace or f"{reason}\n")
        sys.stderr.flush()
        # Before the lease is dropped: whoever takes it is heard of soon, and the reason should be there by then.
        self._outside.tell(link.Failed(phase, reason, trace))
        self.feed(seat.Fell(reason))

    # --- what the bot has to do -------------------------------------------------------------------------------------

    def next_step(self) -> Step | None:
        """What the bot's code has to do now, None when there is nothing. Only when no step runs."""
        self.on_time()
        self._pass_on()
        while self.left is None:
            step = self._hooks.popleft() if self._hooks else self._next()
            if step is None:
                return None
            try:
                if step.turn is not None:
                    self.turns.begin(step.turn)
            except StateError as problem:
                self.fail("state", problem.message)
                continue
            self._running = step
            return step
        return None

    def done(self, step: Step, value: Any = None) -> None:
        """The step was carried out, and this is what it returned."""
        self._running = None
        if step.turn is not None:
            try:
                self._finish(step.turn, value)
            except NeverblinkError as problem:
                self.fail("state", problem.message)
            return
        match step.name:
            case "on_start":
                self._started = True
                self._outside.tell(link.Ready(self._imported, self._clock.mono() - self._began))
                self.feed(seat.Started())
            case "on_load":
                self._loaded()
            case "on_retire":
                self._leave_now()
            case _:
                pass

    def cut_off(self, step: Step) -> None:
        """The step, a hook, was cancelled because this worker leaves."""
        self._running = None

    def raised(self, step: Step, problem: BaseException) -> None:
        """The step raised. A command's problem is the operator's; any other ends this worker."""
        self._running = None
        said = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        turn = step.turn
        if turn is not None and turn.kind == "command":
            self._answers.refuse(turn.items[0], problem, said)
            self.done(step, _REFUSED)
            return
        if turn is not None:
            self.turns.abandon()
        match step.name:
            case "on_yield":
                # It stays behind as the way back, and a clumsy hook must not take that away.
                traceback.print_exception(problem)
            case "on_retire":
                traceback.print_exception(problem)
                self._leave_now()
            case _:
                kind = turn.kind if turn is not None else step.name.removeprefix("on_")
                self.fail(kind, f"{step.name} raised {said}", problem)

    def idle(self) -> bool:
        """Use the time until something is due for copies under way; return whether there is more to send at once."""
        if self.role is not Role.LEADING or self.turns.open:
            return False
        now = self._clock.mono()
        until = min(now + _PUMP_FOR, self._next_turn(now) - _PUMP_STOPS)
        return self.publisher.pump(self._clock.mono, until)

    def wake_at(self) -> int:
        """When something is due next, CLOCK_MONOTONIC ns; messages may come before."""
        at = min(self._alarms.values())
        if self.role is not Role.LEADING or self._running is not None:
            return at
        now = self._clock.mono()
        if self.seat.order is not None:
            closes = self.turns.window_closes()
            if closes:
                at = min(at, now + max(0, closes - self._clock.wall()))
        return min(at, self._next_turn(now))

    # --- the machine ------------------------------------------------------------------------------------------------

    def feed(self, event: SeatEvent) -> None:
        """Let the machine see an event, and carry out what it commands."""
        for command in self.seat.step(event):
            if self.left is not None:
                return
            self._carry_out(command)

    def _carry_out(self, command: SeatCommand) -> None:
        outside = self._outside
        match command:
            case seat.SendTook():
                self._untold.append(command)
            case seat.Announce() if self._resume is not None:
                self._untold.append(command)
            case seat.Announce():
                outside.tell(self._tally.report())
                self._alarms["pulse"] = self._clock.mono() + self._me.pulse
            case seat.Connect(leader=leader):
                self._connect(leader)
            case seat.TakeLease(cause=cause):
                self._take_lease(cause)
            case seat.DropLease():
                self._drop_lease()
            case seat.SendFinal(to=to, order=order, deployment=deployment):
                if self.publisher.final(to, order, deployment, self.inbox.pending()):
                    outside.watch(to, self.publisher.pid_of(to))
                else:
                    # It will not take what it cannot get.
                    self._alarms["lease"] = 0
            case seat.SendFailing(reason=reason):
                self.publisher.failing(reason)
            case seat.Resume(cause=cause):
                self._resume = cause
                self._tally.leads(cause)
            case seat.Hold(order=order, reason=reason):
                outside.tell(link.Holding(order, reason))
            case seat.Cancel(order=order):
                outside.tell(link.Cancelled(order))
            case seat.Suspects(leader=leader, reason=reason):
                outside.tell(link.Suspect(leader, reason))
            case seat.Arm(name=name):
                # An heir that could not be reached is not waited for.
                self._alarms.setdefault(name, self._clock.mono() + self._waits[name])
            case seat.Disarm(name=name):
                self._alarms.pop(name, None)
            case seat.Leave():
                self._begin_leaving(command)

    def _drop_lease(self) -> None:
        try:
            if self.role is Role.YIELDING:
                self.turns.yield_frame(self.seat.leader, self.seat.settled)
        except NeverblinkError as problem:
            self.fail("yield", problem.message)
        finally:
            self._outside.lease.drop()

    def _connect(self, leader: str) -> None:
        self.publisher.forget()
        self._deferred.clear()
        if self._led:
            self._led = False
            self._hooks.append(Step("on_yield", self.bot.call_yield))
        self.follower.guard = self.seat.guard
        holder = self._outside.lease.holder()
        if holder is not None and holder.holder == leader:
            self._outside.watch(leader, holder.pid)
        self.follower.follow(leader)

    def _take_lease(self, cause: Cause) -> None:
        outside, replica = self._outside, self.replica
        try:
            epoch = outside.lease.take(self._me.worker, replica.epoch)
            if epoch is None:
                holder = outside.lease.holder()
                self.feed(seat.LeaseRefused(holder.holder if holder is not None else "", cause))
                return
            if cause == "first":
                begin(replica, outside.journal)
                self._hooks.append(self._load_step())
            else:
                catch_up(replica, outside.journal)
        except NeverblinkError as problem:
            outside.lease.drop()
            self.fail("lead", problem.message)
            return
        replica.epoch = epoch
        self._order = self.seat.heard
        self.feed(seat.LeaseTaken(epoch, cause))

    # --- following --------------------------------------------------------------------------------------------------

    def _hear(self, news: News) -> None:
        match news:
            case Copied():
                self._rehearsal.begin(news)
                self._hooks.append(self._load_step())
            case Lost():
                self._rehearsal.drop()
                self.feed(seat.Stale())
            case Unreadable(reason=reason):
                if not self.follower.guard:
                    self._outside.tell(link.Failed("read", reason, ""))
                self.feed(seat.Broken(reason))
            case TakeOver(order=order, deployment=deployment):
                self._deployment = deployment
                if not self.seat.loaded:
                    self._outside.to_leader(stream.Declined(order, "it has not loaded the state"))
                self.feed(seat.Received(order, self.follower.leader))
            case Gone():
                self.feed(seat.LeaderGone(self.follower.leader))
            case Judged(problem=problem):
                self._alarms.pop("trial", None)
                if self._rehearsal.judged(problem):
                    self.feed(seat.CaughtUp())

    def _load_step(self) -> Step:
        return Step("on_load", lambda: self.bot.call_load(self.replica.state))

    def _loaded(self) -> None:
        self._outside.collect_garbage()
        if self.role is not Role.FOLLOWING:
            return
        if self._rehearsal.open and not self.follower.guard:
            self._ask()
        elif self.follower.live:
            self.feed(seat.CaughtUp())

    def _ask(self) -> None:
        """Ask the leader whether it could go on with what we would write, and again if no answer comes."""
        if self._rehearsal.open and self.role is Role.FOLLOWING:
            if self._rehearsal.ask():
                self._alarms["trial"] = self._clock.mono() + _TRIAL_AGAIN
            else:
                self.feed(seat.CaughtUp())

    def _pass_on(self) -> None:
        """What came in here while another leads goes to it."""
        new = self.inbox.sort_in()
        if new and self.role is Role.FOLLOWING:
            self.follower.offer(new)

    # --- leading ----------------------------------------------------------------------------------------------------

    def _next(self) -> Step | None:
        """The next step that is no hook."""
        if self._leave is not None:
            return self._last_step(self._leave)
        if self.role is not Role.LEADING:
            return None
        if self._resume is not None:
            try:
                return self._lead_step(self._resume)
            except NeverblinkError as problem:
                self.fail("lead", problem.message)
                return None
        self._serve()
        if self.seat.order is not None or self.seat.stopping:
            self._at_boundary()
            if self.role is not Role.LEADING:
                return self._next()
        turn = self.turns.next()
        if turn is None:
            return None
        if turn.tick is not None and not self._outside.lease.held:
            self.fail("lease", "the lease was lost without having been dropped: something closed its file")
            return None
        return Step(_handler(turn), turn.call, turn)

    def _at_boundary(self) -> None:
        order = self.seat.order
        now = self._clock.mono()
        if order is not None and order.order != self._waiting[0]:
            self._waiting = order.order, now
        # A bot that is always late has no slack ever, and perhaps it is being deployed to cure that.
        in_a_hurry = now - self._waiting[1] > _SLACK_WITHIN
        self.feed(
            seat.Boundary(
                decision=self.decisions.open_name,
                window=self.turns.window_open(),
                slack=in_a_hurry or self.turns.slack(),
                heir=order is None or self.publisher.caught_up(order.to),
            )
        )

    def _lead_step(self, cause: Cause) -> Step:
        self._resume = None
        replica = self.replica
        last = replica.last
        left = last.about if last is not None and isinstance(last.about, Yielded) else None
        self.publisher.begin_leading()
        if replica.frozen or replica.leaders.version > replica.schema.version:
            # What others hold by now is in a shape that this code does not write.
            self.turns.reset_frame()
        blackout = self._clock.mono() - left.mono if left is not None else 0
        self._tell_at_last()
        before = self.follower.leader if cause in ("handoff", "failover") else ""
        doubts = tuple(
            InDoubt(opened.id, opened.name, opened.args, opened.at) for opened in replica.open.values()
        )
        about = Led(
            worker=self._me.worker,
            release=self._me.release,
            cause=cause,
            before=before,
            order=self._order,
            deployment=self._deployment,
            blackout=blackout,
            in_doubt=tuple(doubt.id for doubt in doubts),
        )
        self._led = True
        self._tally.took_over(self._order, blackout)
        self.turns.begin_leading(_CAUSES[cause].format(before or "the leader"))
        turn = self.turns.lead_turn(about, lambda: self.bot.call_lead(doubts))
        return Step("on_lead", turn.call, turn)

    def _tell_at_last(self) -> None:
        untold, self._untold = self._untold, []
        for command in untold:
            if isinstance(command, seat.SendTook):
                self._outside.to_leader(stream.Took(self.replica.epoch, command.order))
            else:
                self._carry_out(command)

    def _finish(self, turn: Turn, value: Any) -> None:
        frame = self.turns.finish(turn, value)
        match turn.kind:
            case "tick":
                handed = self._tally.ticked(frame)
                if handed is not None:
                    self._outside.tell(handed)
                answers = turn.tick.answers if turn.tick is not None else {}
                for item in turn.items:
                    if item.kind == "command":
                        self._answers.give(item, answers.get(item.key))
            case "command" if value is not _REFUSED:
                self._answers.give(turn.items[0], value)
            case "stop":
                self._leave_now()
            case _:
                pass
        if turn.pause is not None:
            self._outside.tell(self._tally.report())

    def _serve(self) -> None:
        """Serve those who asked for the state, where there is one."""
        if self._deferred and self.role is Role.LEADING and self._resume is None and not self.turns.open:
            waiting, self._deferred = self._deferred, {}
            for asked in waiting.values():
                self.publisher.subscribe(asked)

    # --- time -------------------------------------------------------------------------------------------------------

    def _pulse(self, now: int) -> None:
        self._alarms["pulse"] = now + self._me.pulse
        self._outside.tell(self._tally.report())
        if self.role is Role.FOLLOWING:
            self.follower.keep_in_touch(now)
            waiting = self.inbox.pending()
            if waiting:
                # An offer may be lost; the leader knows what it has by the key.
                self.follower.offer(waiting)
            self._watch_leader(now)
        elif self._running is not None and self.seat.order is not None and self.decisions.open_name:
            # In the middle of a turn there is no boundary, but there is something to tell.
            self.feed(seat.Boundary(decision=self.decisions.open_name))

    def _watch_leader(self, now: int) -> None:
        due = self.turns.tick_due()
        if not (due and self.follower.guard and self.follower.live):
            return
        overdue = self._clock.wall() - due
        if overdue > self._me.hang_after and now - self.follower.heard > self._me.hang_after:
            self.feed(
                seat.Silent(
                    f"no tick for {overdue / 1e9:.1f} s: tick {(self.replica.seq or 0) + 1} never came"
                )
            )

    def _next_turn(self, now: int) -> int:
        return now + self.turns.next_due() - self._clock.wall()

    # --- the end ----------------------------------------------------------------------------------------------------

    def _begin_leaving(self, command: seat.Leave) -> None:
        if command.how == "fail":
            self.left = command
            return
        self._leave = command
        self._hooks.clear()

    def _last_step(self, leave: seat.Leave) -> Step | None:
        if leave.how == "stop":
            turn = self.turns.stop_turn(self.bot.call_stop)
            return Step("on_stop", turn.call, turn)
        if not self._started:
            self._leave_now()
            return None
        return Step("on_retire", self.bot.call_retire)

    def _leave_now(self) -> None:
        if self.left is None:
            self.left = self._leave
            self._outside.lease.drop()


def _handler(turn: Turn) -> str:
    return f"on_{turn.kind}"


_CAUSES: dict[Cause, str] = {
    "first": "nobody led before",
    "handoff": "the handoff",
    "takeback": "the handoff, which was taken back",
    "failover": "{} died",
}
