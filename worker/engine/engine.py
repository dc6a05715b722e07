"""The engine: one worker, without sockets, event loop and user code.

It drives the `Seat` machine. What comes in (the supervisor's orders, the stream, a death, an alarm) becomes an event of
the machine. What the machine commands is carried out here, by the two parts that a worker plays, `Leading` and
`Following`. What the bot's own code has to do comes out as a `TurnStep`, one at a time: the driver (an event loop, a
plain `for` loop, a test) takes `next_step()`, calls it, and reports `done` or `raised`.

Messages may come in while a step runs. They are handled at once, except that a copy of the state waits for the next
boundary, since only there it is a state.
"""

from __future__ import annotations

import traceback
from collections import deque
from typing import Any

from ...protocol import link, stream
from ...protocol import seat_events as seat
from ...protocol.assignment import Assignment
from ...protocol.errors import NeverblinkError
from ...protocol.frame import Cause
from ...protocol.seat import Seat
from ...protocol.seat_events import Role, SeatCommand, SeatEvent
from ...protocol.text import clean
from ..io.output import report, report_exception
from ..io.release_dir import describe
from ..journal.retention import Limits
from ..model.replica import Replica
from ..replication.following import Following
from ..replication.interfaces import WorkerIO
from ..replication.journal_writer import JournalWriter
from ..replication.publisher import Publisher
from ..replication.recovery import catch_up, from_journal
from ..replication.state_stream import StateStream
from .leading import Leading, LeaseLost
from .report_counters import ReportCounters
from .steps import TurnStep
from .turns import Bot

__all__ = ["Engine"]

_RETRY = 20_000_000
_SAME_CLOCK = 60_000_000_000
_LEAD_PART = 25
_LEAD_AT_MOST = 5_000_000
"""A leader is awake before a turn is due, as long as being woken and making ready takes, and no longer than this part
of the interval, which is what it can cost of a core."""


class Engine:
    """One worker running `bot`. `hello` is how it introduces itself."""

    def __init__(
        self,
        me: Assignment,
        hello: link.Hello,
        bot: Bot,
        replica: Replica,
        io: WorkerIO,
    ) -> None:
        self.bot = bot
        self.replica = replica
        self.inbox = replica.inbox
        self.seat = Seat(me.worker)
        limits = Limits(me.journal_segment, me.journal_keep, me.journal_keep_for)
        writer = JournalWriter(replica, io, limits, self._announce)
        parts = StateStream(replica, writer, Publisher(replica, io.to_follower))
        self._counters = ReportCounters(self.seat, parts, io.descriptors.report)
        self.leading = Leading(me, bot, parts, self._counters, io)
        self.following = Following(me, hello.pid, self.seat, replica, io)
        replica.cells.guard_by(self.leading.turns)
        self.left: seat.ExitProcess | None = None
        """How this worker has left: no work remains, and its process may end."""
        self._me = me
        self._hello = hello
        self._io = io
        self._descriptors = io.descriptors
        self._mono = io.clock.mono
        self._hooks: deque[TurnStep] = deque()
        self._running: TurnStep | None = None
        self.lead = 0
        """How long before the time of `wake_at` or `rests_until` to be awake, ns. Only a leader is."""
        self._untouched = False
        """`make_ready` found that the state is as the last turn left it."""
        self._resting = False
        """Only turns are to come: so it was after the last turn, and the machine has seen no event since."""
        self._started = False
        self._ready: link.Ready | None = None
        self._imported = 0
        self._began = 0
        self._resume: Cause | None = None
        """This worker has the lease and everything to lead with, and has not begun yet."""
        self._first: TurnStep | None = None
        """The step with which it begins, already made: it is able to tick."""
        self._order = 0
        self._before = ""
        """The worker that led before this one."""
        self._leave: seat.ExitProcess | None = None
        self._led = False
        """This worker has led, and `on_yield` has not run since."""
        self._alarms: dict[str, int] = {"heartbeat": 0}
        self._alarm_at = 0
        """When the first of them rings."""
        self._waits = {"lease": me.lease_within, "retry": _RETRY}

    @property
    def role(self) -> Role:
        return self.seat.role

    @property
    def in_turn(self) -> bool:
        """The bot's code is running, in a turn."""
        return self._running is not None and self._running.turn is not None

    @property
    def leaves(self) -> bool:
        """It is about to leave, or has left."""
        return self._leave is not None or self.left is not None

    # --- what comes in ----------------------------------------------------------------------------------------------

    def start(self, imported: int) -> None:
        """Introduce this worker; the bot's `on_start` comes first. `imported`: how long importing it took, ns."""
        self._imported = imported
        self._began = self._mono()
        self._io.tell(self._hello)
        self._hooks.append(TurnStep("on_start", self.bot.call_start))

    def ordered(self, message: link.SupervisorMessage) -> None:
        """A message from the supervisor."""
        match message:
            case link.Welcome():
                self._io.tell(self._counters.report())
            case link.Identify():
                self._introduce()
            case link.Rejected(reason=reason):
                # Even if another process runs under this name: no message ends a bot that ticks.
                if self.seat.role not in (Role.LEADING, Role.YIELDING):
                    self.fail("link", reason)
            case link.ExpectFollower():
                self._descriptors.expect()
            case link.Run():
                self.leading.answers.asked(message)
            case link.Lead() if not self._started:
                pass
            case _:
                self.feed(message)

    def from_leader(self, message: stream.LeaderMessage) -> None:
        """A message from the leader that this worker follows."""
        if self.seat.role in (Role.JOINING, Role.FOLLOWING):
            last = self.replica.last
            self._feed_all(self.following.receive(message, loaded=self.seat.loaded))
            if (
                self.seat.role is Role.FOLLOWING
                and (now := self.replica.last) is not None
                and now is not last
            ):
                # The two must not disagree about a step of the clock when one takes over from the other.
                self._io.clock.follow(now.timing.ended, now.timing.mono)

    def from_follower(self, worker: str, message: stream.FollowerMessage) -> None:
        """A message from a follower of this worker."""
        event = self.leading.from_follower(worker, message)
        if event is not None:
            self.feed(event)

    def died(self, worker: str) -> None:
        """The process of another worker has ended."""
        self.feed(seat.LeaderGone(worker))

    def on_time(self) -> None:
        """Look at the alarms; also while a step runs."""
        now = self._mono()
        if now < self._alarm_at:
            return
        for name, at in list(self._alarms.items()):
            if at > now:
                continue
            del self._alarms[name]
            if name == "heartbeat":
                self._heartbeat(now)
            else:
                self.feed(seat.SeatTimerFired(name))
        self._alarm_at = min(self._alarms.values())

    def fail(self, phase: str, reason: str, problem: BaseException | None = None) -> None:
        """This worker cannot go on: report why, and leave."""
        if self.left is not None:
            # The first reason is the reason.
            return
        reason = clean(reason)
        trace = clean("".join(traceback.format_exception(problem))) if problem is not None else ""
        if problem is not None:
            report_exception(problem)
        else:
            report(reason)
        # Before the lease is dropped: its next holder reports soon, and the reason should have arrived by then.
        self._io.tell(link.Failed(phase, reason, trace))
        if self.leading.turns.open:
            # It may be in the middle of a turn, and end later: then it has no frame.
            self.leading.abandon()
        self.feed(seat.Fell(reason))
        # A bot that fails in its `on_stop` has retired before, and its seat answers to nothing any more.
        self._leave_now(seat.ExitProcess("fail", reason))

    # --- what the bot has to do -------------------------------------------------------------------------------------

    def next_step(self) -> TurnStep | None:
        """Return what the bot's code has to do now, None when there is nothing. Only while no step runs."""
        untouched, self._untouched = self._untouched, False
        if not self._resting:
            self.on_time()
            if self.seat.role is Role.FOLLOWING:
                self.following.pass_on()
        while self.left is None:
            try:
                step = self.leading.next() if self._resting else self._next()
                if step is None:
                    # Turns go first: what a report takes is not to make one late.
                    if self._resting and self._mono() >= self._alarm_at:
                        self.on_time()
                        continue
                    return None
                turn = step.turn
                if turn is not None:
                    if self._descriptors.watchful:
                        self._descriptors.begin_turn()
                    self.leading.turns.begin(turn, untouched)
                    if turn.asked is not None:
                        self.leading.note_begun(turn.asked)
            except LeaseLost as problem:
                self.fail("lease", problem.message)
                continue
            except NeverblinkError as problem:
                self.fail("state", problem.message)
                continue
            except Exception as problem:
                self.fail("state", describe(problem), problem)
                continue
            self._running = step
            return step
        return None

    def make_ready(self) -> None:
        """Something is due in a moment, and then `next_step` is asked with nothing in between: do what can be done now.

        That is to look whether the state is as the last turn left it, which the turn then need not do; and as it brings
        the state into the processor's caches, the turn itself is shorter too. What a thread changes after this look is
        in the turn's frame, as what it changes during the turn is.
        """
        if self.seat.role is Role.LEADING and self._running is None:
            self._untouched = self.leading.turns.untouched()

    def done(self, step: TurnStep, value: Any = None) -> None:
        """The step was carried out, and this is what it returned."""
        self._running = None
        if self.left is not None:
            # It failed meanwhile, and the lease is another's.
            return
        if step.turn is not None:
            if self._descriptors.watchful:
                self._descriptors.end_turn()
            try:
                self.leading.finish(step.turn, value)
            except NeverblinkError as problem:
                self.fail("state", problem.message)
            except Exception as problem:
                self.fail("state", f"{step.turn.title or step.name}: {describe(problem)}", problem)
            if self.left is not None:
                return
            if step.turn.kind != "stop":
                if not self._resting:
                    self._resting = self._has_only_turns()
                if self._mono() >= self._alarm_at:
                    self.on_time()
                return
        match step.name:
            case "on_start":
                self._started = True
                self._ready = link.Ready(self._imported, self._mono() - self._began)
                self._counters.ready = self._ready
                self._io.tell(self._ready)
                self.feed(seat.Started())
            case "on_load":
                self._io.collect_garbage()
                if self.seat.role is Role.FOLLOWING:
                    self._feed_all(self.following.loaded())
            case "on_retire" | "on_stop":
                self._leave_now(self._leave)
            case _:
                pass

    def cut_off(self, step: TurnStep) -> None:
        """The step, a hook, was cancelled because this worker leaves."""
        self._running = None

    def raised(self, step: TurnStep, problem: BaseException) -> None:
        """The step raised. A command's problem is the operator's; almost any other ends this worker."""
        self._running = None
        if self.left is not None:
            return
        said = describe(problem)
        turn = step.turn
        if turn is not None and self._descriptors.watchful:
            self._descriptors.end_turn()
        if turn is not None and turn.kind == "command" and not isinstance(problem, KeyboardInterrupt):
            try:
                self.leading.refuse(turn, problem, said)
            except NeverblinkError as worse:
                self.fail("state", worse.message)
            except Exception as worse:
                self.fail("state", f"{turn.title}: {describe(worse)}", worse)
            return
        if turn is not None:
            self.leading.abandon()
        match step.name:
            case "on_yield":
                # This worker is the rollback target now, and a failing hook must not end it.
                report_exception(problem)
            case "on_retire":
                report_exception(problem)
                self._leave_now(self._leave)
            case _:
                kind = turn.kind if turn is not None else step.name.removeprefix("on_")
                self.fail(kind, f"{step.name} raised {said}", problem)

    def idle(self) -> bool:
        """Nothing is due: use the time. Returns whether more work can be done at once."""
        if self.seat.role is not Role.LEADING or self._running is not None:
            return False
        return self.leading.pump(self._mono())

    def wake_at(self) -> int:
        """When something is due next, CLOCK_MONOTONIC ns; messages may come before."""
        at = self._alarm_at
        if self.seat.role is not Role.LEADING or self._running is not None:
            return at
        return min(at, self.leading.wake_at(self._mono(), self.seat.order))

    def rests_until(self) -> int:
        """When to look again (CLOCK_MONOTONIC, ns), of a leader that has nothing at all to do until then; else 0.

        It is what `next_step`, `idle` and `wake_at` come to after an ordinary tick, at once.
        """
        return min(self.leading.rests_until(), self._alarm_at) if self._resting else 0

    def _has_only_turns(self) -> bool:
        """Whether this is a leader without any other work: what it does next is a turn."""
        seat = self.seat
        return (
            seat.role is Role.LEADING
            and seat.order is None
            and not seat.stopping
            and not self._hooks
            and self.left is None
            and self._leave is None
            and self._resume is None
            and self._first is None
            and not self.following.to_load
        )

    def _next(self) -> TurnStep | None:
        if self._leave is not None:
            return self._last_step(self._leave)
        if self.following.to_load:
            self.following.to_load = False
            self._hooks.append(self._load_step())
        if self._hooks:
            return self._hooks.popleft()
        if self.seat.role is Role.LEADING and self._resume is not None:
            self._begin_leading(self._resume)
        if self._first is not None:
            step, self._first = self._first, None
            return step
        if self.seat.role is Role.LEADING and (self.seat.order is not None or self.seat.stopping):
            self.leading.serve()
            boundary = self.leading.boundary(self.seat.order)
            if boundary is not None:
                self.feed(boundary)
            if self._leave is not None:
                return self._last_step(self._leave)
        return self.leading.next() if self.seat.role is Role.LEADING else None

    def _begin_leading(self, cause: Cause) -> None:
        self._resume = None
        self._led = True
        self.lead = min(self.bot.interval // _LEAD_PART, _LEAD_AT_MOST)
        self._first = self.leading.take_over(cause, self._before, self._order, self.following.deployment)
        # Only now: until here it was in the blackout.
        self._descriptors.keep()
        self._announce()

    def _begin_at_once(self) -> None:
        """Be able to tick now, not only at the next call of `next_step`, unless the bot's code comes first."""
        if self._resume is None or self._hooks or self.following.to_load or self._running is not None:
            return
        try:
            self._begin_leading(self._resume)
        except NeverblinkError as problem:
            self.fail("state", problem.message)

    def _load_step(self) -> TurnStep:
        return TurnStep("on_load", lambda: self.bot.call_load(self.replica.state))

    # --- the machine ------------------------------------------------------------------------------------------------

    def feed(self, event: SeatEvent) -> None:
        """Let the machine see an event, and carry out what it commands."""
        self._resting = False
        for command in self.seat.step(event):
            if self.left is not None:
                return
            self._carry_out(command)

    def _feed_all(self, events: list[SeatEvent]) -> None:
        for event in events:
            self.feed(event)

    def _carry_out(self, command: SeatCommand) -> None:
        io = self._io
        match command:
            case seat.Announce():
                if self._resume is None:
                    self._announce()
            case seat.Connect(leader=leader):
                self._connect(leader)
            case seat.TakeLease(cause=cause):
                self._take_lease(cause)
            case seat.DropLease():
                self._drop_lease()
            case seat.SendFinal(to=to, order=order, deployment=deployment):
                if not self.leading.send_final(to, order, deployment):
                    # The successor cannot take the lease without the final frame: do not wait for it.
                    self._waits["lease"] = 0
            case seat.SendTook():
                pass  # with the first step of leading, which knows when it is able to tick
            case seat.SendFailing(reason=reason):
                self.leading.failing(reason)
            case seat.StartLeading(cause=cause):
                self._resume = cause
                self._counters.leads(cause)
            case seat.Hold(order=order, reason=reason):
                io.tell(link.Holding(order, reason))
            case seat.Cancel(order=order):
                io.tell(link.Cancelled(order))
            case seat.Suspects(leader=leader, reason=reason):
                io.tell(link.Suspect(leader, reason))
            case seat.ArmSeatTimer(name=name):
                self._arm(name, self._waits[name])
                self._waits["lease"] = self._me.lease_within
            case seat.DisarmSeatTimer(name=name):
                self._alarms.pop(name, None)
                self._alarm_at = min(self._alarms.values(), default=0)
            case seat.ExitProcess():
                self._begin_leaving(command)

    def _introduce(self) -> None:
        """Report everything to a supervisor that does not know this worker: it may not be the one that started it."""
        seat, told = self.seat, self._io.tell
        told(self._hello)
        for once in (self._ready, self.following.rehearsed):
            if once is not None:
                told(once)
        told(self._counters.report())
        for decision in self.leading.decisions.mine():
            told(decision)
        if self.leading.handed is not None:
            told(self.leading.handed)
        if seat.order is not None and seat.held:
            told(link.Holding(seat.order.order, seat.held))

    def _announce(self) -> None:
        self._io.tell(self._counters.report())
        self._arm("heartbeat", self._me.pulse)

    def _arm(self, name: str, within: int) -> None:
        self._alarms[name] = self._mono() + within
        self._alarm_at = min(self._alarms.values())

    def _connect(self, leader: str) -> None:
        self.lead = 0
        self._descriptors.release()
        self.leading.step_aside()
        if self._led:
            self._led = False
            self._hooks.append(TurnStep("on_yield", self.bot.call_yield))
        if not self.following.connect(leader) and self.seat.keeps:
            # This worker has just yielded to it, and it is gone. Any other follower may have come in the middle of a
            # transfer, when the lease is free for a moment.
            self.died(leader)

    def _take_lease(self, cause: Cause) -> None:
        io, replica = self._io, self.replica
        try:
            epoch = io.lease.take(self._me.worker, replica.epoch)
            if epoch is None:
                holder = io.lease.holder()
                self.feed(seat.LeaseRefused(holder.holder if holder is not None else "", cause))
                return
            if cause == "first":
                found = from_journal(replica, io.journal, self._me.known)
                self._before = replica.led_by
                if epoch <= replica.epoch:
                    # The lease's file was lost, and its count with it. The journal knows.
                    io.lease.drop()
                    epoch = io.lease.take(self._me.worker, replica.epoch)
                    if epoch is None:
                        self.feed(seat.LeaseRefused("", cause))
                        return
            else:
                self._before = self.following.leader if self.seat.role is Role.FOLLOWING else ""
                number = replica.number
                found = catch_up(replica, io.journal)
                if cause == "takeback" and replica.number > number:
                    # The successor took over, and died before this worker learned of it.
                    cause, self._before = "failover", self.seat.leader
        except NeverblinkError as problem:
            io.lease.drop()
            self.fail("lead", problem.message)
            return
        self._follow_last_clock()
        if found.reloaded:
            self._hooks.append(self._load_step())
        if found.worth_telling:
            self._io.tell(found.report(replica))
        replica.epoch = epoch
        self.leading.writer.begin_leading(found.problem, found.written)
        self._order = self.seat.heard
        self.feed(seat.LeaseTaken(epoch, cause))
        self._begin_at_once()

    def _follow_last_clock(self) -> None:
        """The leader before may have been waiting whether a step of the clock lasts: go on with what it believed."""
        last = self.replica.last
        ago = self._mono() - last.timing.mono if last is not None else -1
        # A reading of another boot of the machine says nothing; one that is so close is hardly of another boot.
        if last is not None and 0 <= ago < _SAME_CLOCK:
            self._io.clock.follow(last.timing.ended, last.timing.mono)

    def _drop_lease(self) -> None:
        try:
            if self.seat.role is Role.YIELDING:
                self.leading.turns.close_epoch(self.seat.leader, self.seat.settled)
        except NeverblinkError as problem:
            self.fail("yield", problem.message)
        finally:
            self.leading.writer.let_go()
            self._io.lease.drop()

    def _heartbeat(self, now: int) -> None:
        # However far apart its ticks are, a step of the clock is seen when it happens.
        self._io.clock.wall()
        self._announce()
        if self.seat.role is Role.FOLLOWING:
            self._feed_all(self.following.heartbeat(now, self.leading.turns.tick_due()))
        elif self.seat.order is not None and self._running is not None and self._running.turn is not None:
            # In the middle of a turn there is no boundary, but there is something to tell.
            turn = self._running.turn.title
            self.feed(seat.Boundary(decision=self.leading.decisions.open_name, turn=turn))

    # --- the end ----------------------------------------------------------------------------------------------------

    def _begin_leaving(self, command: seat.ExitProcess) -> None:
        if command.how == "fail":
            self._leave_now(command)
            return
        self._leave = command
        self._hooks.clear()
        if command.how == "stop":
            # From here on no tick is due, however long `on_stop` takes.
            self._announce()

    def _last_step(self, leave: seat.ExitProcess) -> TurnStep | None:
        if leave.how == "stop":
            turn = self.leading.turns.stop_turn(self.bot.call_stop)
            return TurnStep("on_stop", turn.call, turn)
        if not self._started:
            self._leave_now(leave)
            return None
        return TurnStep("on_retire", self.bot.call_retire)

    def _leave_now(self, leave: seat.ExitProcess | None) -> None:
        """No work remains: release everything at once, however long the process takes to exit."""
        if self.left is not None or leave is None:
            return
        self.left = leave
        self.leading.writer.let_go()
        self._io.lease.drop()
        self._io.tell(self._counters.report(done=True))
        self._io.expect_exit(1 if leave.how == "fail" else 0)
