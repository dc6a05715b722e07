"""The engine: one worker, without sockets, event loop and user code.

It drives the `Seat` state machine. Input (the supervisor's orders, the stream, a death, an alarm) becomes an event of
the machine. The machine's commands are carried out here, by the two roles of a worker, `Leading` and `Following`. Work
for the bot's own code is returned as a `TurnStep`, one at a time: the driver (an event loop, a plain `for` loop, a
test) takes `next_step()`, calls it, and reports `done` or `raised`.

Messages may arrive while a step runs. They are handled at once, but a copy of the state waits for the next boundary,
because only then is the state consistent.
"""

from __future__ import annotations

import traceback
from collections import deque
from typing import Any

from ...protocol import duration, link, stream
from ...protocol import seat_events as seat
from ...protocol.assignment import Assignment
from ...protocol.errors import NeverblinkError
from ...protocol.feed_queue import FeedQueues
from ...protocol.frame import Cause
from ...protocol.seat import Seat, what_holds
from ...protocol.seat_events import Role, SeatCommand, SeatEvent
from ...protocol.text import clean
from ..io.output import report, report_exception
from ..io.release_dir import describe
from ..journal.retention import JournalLimits
from ..model.replica import Replica
from ..model.table import StateError
from ..model.task_declaration import TaskDeclaration, TaskError
from ..model.verifier import VerificationFailed
from ..replication.following import Following
from ..replication.interfaces import WorkerIO
from ..replication.journal_writer import JournalWriter
from ..replication.last_readable import resume_readable
from ..replication.publisher import Publisher, StateStream
from ..replication.recovery import WouldLose, catch_up, from_journal
from .inbox_log import InboxLog
from .leading import Leading, LeaseLost
from .refresh import Refresh
from .report_counters import ReportCounters
from .turns import Bot, HookTimeout, TurnStep

__all__ = ["Engine"]

_RETRY = 20_000_000
_SAME_CLOCK = 60_000_000_000
_LEAD_PART = 25
_LEAD_AT_MOST = 5_000_000
"""A leader wakes before a turn is due, by the time that waking and preparing take. This limits the lead to a part of
the interval, and so the load of a core."""


_DECLARING = ("on_start", "on_load", "on_lead")
"""The handlers that may declare tasks."""
_LOADING_COMMANDS = ("command state-restore", "command state-set")
"""Turns in which `on_load` runs."""


class Engine:
    """One worker that runs `bot`. `hello` is its introduction to the supervisor."""

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
        limits = JournalLimits(me.journal_segment, me.journal_keep, me.journal_keep_for)
        writer = JournalWriter(replica, io, limits, self._announce)
        parts = StateStream(replica, writer, Publisher(replica, io.to_follower))
        self._counters = ReportCounters(self.seat, parts, io.descriptors.report, io.clock.mono)
        self.leading = Leading(me, bot, parts, self._counters, io)
        self.following = Following(me, hello.pid, self.seat, replica, io)
        self.tasks = self.leading.tasks
        replica.cells.guard_by(self.leading.turns)
        self._inbox_log = InboxLog(replica.inbox, io.clock.mono)
        replica.cells.pace.clock = io.clock.mono
        self.left: seat.ExitProcess | None = None
        """How this worker has left, None before. Then no work remains, and its process may end."""
        self._me = me
        self._hello = hello
        self._io = io
        self._descriptors = io.descriptors
        self._mono = io.clock.mono
        self._refresh = Refresh(bot, replica, io.clock.mono)
        self._hooks: deque[TurnStep] = deque()
        self._running: TurnStep | None = None
        self.lead = 0
        """How long before `wake_at` or `rests_until` to wake, ns; 0 for a follower."""
        self._untouched = False
        """`make_ready` found that the state has not changed since the last turn."""
        self._resting = False
        """Only turns remain to do: so it was after the last turn, and the machine has seen no event since."""
        self._started = False
        self._ready: link.Ready | None = None
        self._imported = 0
        self._began = 0
        self._resume: Cause | None = None
        """This worker has the lease and the state, but has not begun to lead."""
        self._first: TurnStep | None = None
        """The first step of leading, if it was made already: the worker is able to tick."""
        self._order = 0
        self._before = ""
        """The worker that led before this one."""
        self._leave: seat.ExitProcess | None = None
        self.led_before = False
        """This process had led before it came to lead last."""
        self._has_led = False
        self._led = False
        """Whether this worker has led and `on_yield` has not run since."""
        self._steps = 0
        """How many steps have begun."""
        self._stop_until = 0
        """Until when a stop waits for the end of the bot's tasks, CLOCK_MONOTONIC ns; 0 before it waits."""
        self._alarms: dict[str, int] = {"heartbeat": 0}
        self._alarm_at = 0
        """When the first alarm is due."""
        self._waits = {"lease": me.lease_within, "retry": _RETRY}

    @property
    def role(self) -> Role:
        return self.seat.role

    @property
    def in_turn(self) -> bool:
        """Whether the bot's code runs in a turn."""
        return self._running is not None and self._running.turn is not None

    @property
    def feeds(self) -> FeedQueues | None:
        """Where events of feeds go; None while it is not known up to where the bot has applied them."""
        return self.inbox.feeds if self.replica.state is not None else None

    @property
    def leaves(self) -> bool:
        """Whether it is about to leave, or has left."""
        return self._leave is not None or self.left is not None

    # --- input ------------------------------------------------------------------------------------------------------

    def start(self, imported: int) -> None:
        """Introduce this worker, and begin with the bot's `on_start`. `imported`: how long the import took, ns."""
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
                # No message ends a bot that ticks, even if another process runs under this name.
                if self.seat.role not in (Role.LEADING, Role.YIELDING):
                    self.fail("link", reason)
            case link.ExpectFollower():
                self._descriptors.expect()
            case link.Run():
                self.leading.answers.receive(message)
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
                # Leader and follower must agree about a step of the clock when one takes over from the other.
                self._io.clock.follow(now.timing.ended, now.timing.mono)
                wait = self._refresh.wait()
                if wait > 0 and "refresh" not in self._alarms:
                    self._arm("refresh", wait)

    def from_follower(self, worker: str, message: stream.FollowerMessage) -> None:
        """A message from a follower of this worker."""
        event = self.leading.from_follower(worker, message)
        if event is not None:
            self.feed(event)

    def died(self, worker: str) -> None:
        """The process of another worker has ended."""
        self.feed(seat.LeaderGone(worker))

    def on_time(self) -> None:
        """Handle alarms that are due. Also called while a step runs."""
        if self.tasks.dirty:
            self._look_after_tasks()
        now = self._mono()
        if now < self._alarm_at:
            return
        for name, at in list(self._alarms.items()):
            if at > now:
                continue
            del self._alarms[name]
            if name == "heartbeat":
                self._heartbeat(now)
            elif name == "tasks":
                self._look_after_tasks()
            elif name != "refresh":
                self.feed(seat.SeatTimerFired(name))
        self._alarm_at = min(self._alarms.values())

    def fail(self, phase: str, reason: str, problem: BaseException | None = None) -> None:
        """Report that this worker cannot go on and why, and leave."""
        if self.left is not None:
            # Only the first reason counts.
            return
        self.tasks.end()
        reason = clean(reason)
        trace = clean("".join(traceback.format_exception(problem))) if problem is not None else ""
        if problem is not None:
            report_exception(problem)
        else:
            report(reason)
        # Before the lease is dropped: the reason should arrive before the report of the next holder.
        self._io.tell(link.Failed(phase, reason, trace))
        if self.leading.turns.open:
            # A turn may be running and end later. It gets no frame.
            self.leading.turns.abandon()
        self.feed(seat.Fell(reason))
        # A bot that fails in `on_stop` has retired already, and its seat ignores events.
        self._leave_now(seat.ExitProcess("fail", reason))

    # --- steps of the bot -------------------------------------------------------------------------------------------

    def next_step(self) -> TurnStep | None:
        """Return the next step of the bot's code, None when there is none now. Only while no step runs."""
        untouched, self._untouched = self._untouched, False
        if not self._resting or self.tasks.dirty:
            self.on_time()
            if self.seat.role is Role.FOLLOWING:
                self.following.pass_on()
        while self.left is None:
            try:
                step = self.leading.next() if self._resting else self._next()
                if step is None:
                    # Turns go first: a report must not make them late.
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
            self._steps += 1
            return step
        return None

    def make_ready(self) -> None:
        """Prepare for the next turn, which is due in a moment and follows directly.

        Checks that the state has not changed since the last turn, so that the turn need not. This also brings the state
        into the processor's caches. What a thread changes after the check is in the turn's frame, like its changes
        during the turn.
        """
        if self.seat.role is Role.LEADING and self._running is None:
            self._untouched = self.leading.turns.untouched()

    def done(self, step: TurnStep, value: Any = None) -> None:
        """Report that the step was carried out, and its result."""
        self._running = None
        if self.left is not None:
            # The worker failed meanwhile and has dropped the lease.
            return
        if step.turn is not None:
            if self._descriptors.watchful:
                self._descriptors.end_turn()
            try:
                self.leading.finish(step.turn, value)
            except VerificationFailed as problem:
                self.fail("state", problem.message)
            except StateError as problem:
                lines = self.replica.verifier.lines_of(problem.field)
                where = f" (written in {', '.join(lines)})" if lines else ""
                self.fail("state", f"{step.turn.title}: {problem.message}{where}")
            except NeverblinkError as problem:
                self.fail("state", problem.message)
            except Exception as problem:
                self.fail("state", f"{step.turn.title or step.name}: {describe(problem)}", problem)
            if self.left is not None:
                return
            if step.turn.kind != "stop":
                if not self._resting:
                    self._declared(step)
                    self._resting = self._has_only_turns()
                if self._mono() >= self._alarm_at:
                    self.on_time()
                return
        if step is self._refresh.running:
            self._declared(step)
            self._refresh.done()
            self.following.refreshed(self._refresh.needs)
            return
        match step.name:
            case "on_start":
                self._started = True
                self._ready = link.Ready(self._imported, self._mono() - self._began)
                self._counters.ready = self._ready
                self._io.tell(self._ready)
                self.feed(seat.Started())
            case "on_load":
                self._declared(step)
                self._refresh.done()
                self.following.refreshed(self._refresh.needs)
                self._io.collect_garbage()
                if self.seat.role is Role.FOLLOWING:
                    self._feed_all(self.following.loaded())
            case "on_yielding":
                self.leading.preparation.handler_ended(self._mono())
            case "on_retire" | "on_stop":
                self._leave_now(self._leave)
            case _:
                pass

    def cut_off(self, step: TurnStep) -> None:
        """Report that the step, a hook, was cancelled because this worker leaves."""
        self._running = None

    def raised(self, step: TurnStep, problem: BaseException) -> None:
        """Report that the step raised. A command's error is answered to the operator; most others end this worker."""
        self._running = None
        if self.left is not None:
            return
        description = describe(problem)
        turn = step.turn
        if turn is not None and self._descriptors.watchful:
            self._descriptors.end_turn()
        # A loop that raises has ended, whatever it raised for.
        command = turn is not None and turn.kind == "command" and turn.passed is None
        if turn is not None and command and not isinstance(problem, KeyboardInterrupt):
            try:
                self.leading.refuse(turn, problem, description)
            except NeverblinkError as worse:
                self.fail("state", worse.message)
            except Exception as worse:
                self.fail("state", f"{turn.title}: {describe(worse)}", worse)
            return
        if turn is not None:
            self.leading.turns.abandon()
        match step.name:
            case "on_yielding":
                # What it should have released may be gone already, and other code must remain deployable.
                report(f"ERROR: neverblink: on_yielding {_how(problem, description)}; the handoff goes on")
                report_exception(problem)
                self.leading.preparation.handler_ended(
                    self._mono(), f"on_yielding {_how(problem, description)}"
                )
            case "on_yield":
                # This worker is kept for a rollback now, and a failing hook must not end it.
                report_exception(problem)
            case "on_retire":
                report_exception(problem)
                self._leave_now(self._leave)
            case _:
                kind = turn.kind if turn is not None else step.name.removeprefix("on_")
                self.fail(kind, f"{step.name} raised {description}", problem)

    def idle(self) -> bool:
        """Use free time for background work. Returns whether there is more of it."""
        if self.seat.role is not Role.LEADING or self._running is not None:
            return False
        if self.leading.pump(self._mono()):
            return True
        # In a handoff the time between two turns is for the handoff.
        if self.seat.order is None and self.leading.verify():
            self._announce()
        return False

    def wake_at(self) -> int:
        """When something is due next, CLOCK_MONOTONIC ns. Messages may arrive before."""
        at = self._alarm_at
        if self.seat.role is not Role.LEADING or self._running is not None:
            return at
        return min(at, self.leading.wake_at(self._mono(), self.seat.order))

    def rests_until(self) -> int:
        """When a leader that has nothing to do until then must wake (CLOCK_MONOTONIC, ns); 0 otherwise.

        The same result as `next_step`, `idle` and `wake_at` after an ordinary tick, but faster.
        """
        return min(self.leading.rests_until(), self._alarm_at) if self._resting else 0

    def _has_only_turns(self) -> bool:
        """Whether this is a leader whose only work is turns."""
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
            and not self.leading.preparation.order
        )

    def _next(self) -> TurnStep | None:
        if self._leave is not None:
            return self._last_step(self._leave)
        if self.following.to_load:
            self.following.to_load = False
            self._hooks.append(self._refresh.load_step())
        if self._hooks:
            return self._hooks.popleft()
        if self._may_refresh():
            return self._refresh.step()
        if self.seat.role is Role.LEADING and self._resume is not None:
            self._begin_leading(self._resume)
        if self._first is not None:
            step, self._first = self._first, None
            return step
        preparation = self.leading.preparation
        if self.seat.role is Role.LEADING and (
            self.seat.order is not None or self.seat.stopping or preparation.order
        ):
            self.leading.serve()
            step = self._approach_end()
            if step is not None:
                return step
            if self._leave is not None:
                return self._last_step(self._leave)
            if preparation.sealed:
                return None
        return self.leading.next() if self.seat.role is Role.LEADING else None

    def _approach_end(self) -> TurnStep | None:
        """Yield or stop, if this is the moment; return what the bot's code has to do for it first."""
        order, preparation, now = self.seat.order, self.leading.preparation, self._mono()
        if preparation.order and (self.seat.stopping or order is None or order.order != preparation.order):
            return self._lead_on(now)
        if self.seat.stopping and not self._tasks_ended(now):
            return None
        boundary = self.leading.boundary(order)
        if preparation.wants_handler:
            return TurnStep("on_yielding", self.bot.call_yielding, within=preparation.begin_handler(now))
        if preparation.order and order is not None:
            if task := preparation.overdue(now):
                reason = f"{task}, which did not end within {duration.about(self.bot.yield_within)}"
                # Two processes must never act as the leader.
                if order.force:
                    self.fail("yield", f"the forced handoff was held by {reason}")
                    return None
                self.feed(seat.YieldRefused(order.order, reason))
                return self._lead_on(now)
            held = boundary is not None and what_holds(boundary, order)
            in_window = boundary is not None and boundary.window and not order.force
            if in_window or (held and preparation.sealed) or preparation.in_vain(now):
                return self._lead_on(now)
        if boundary is not None:
            self.feed(boundary)
        return None

    def _lead_on(self, now: int) -> TurnStep | None:
        """Lead on after a preparation to yield; return `on_lead` if the bot has to be told."""
        again = self.leading.preparation.give_up(now)
        self._announce()
        if not again:
            return None
        self.led_before = True
        return self.leading.lead_on()

    def _begin_leading(self, cause: Cause) -> None:
        self._resume = None
        self.led_before, self._has_led, self._led = self._has_led, True, True
        self.lead = min(self.bot.interval // _LEAD_PART, _LEAD_AT_MOST)
        self._first = self.leading.take_over(cause, self._before, self._order, self.following.deployment)
        # Only now, because until here it would lengthen the blackout.
        self._descriptors.keep()
        self._io.sockets.accept()
        self._announce()

    def _begin_at_once(self) -> None:
        """Begin to lead now, not only in `next_step`, unless the bot's code has to run first."""
        if self._resume is None or self._hooks or self.following.to_load or self._running is not None:
            return
        if self._refresh.stale:
            return
        try:
            self._begin_leading(self._resume)
        except NeverblinkError as problem:
            self.fail("state", problem.message)

    # --- the bot's tasks --------------------------------------------------------------------------------------------

    def declare_task(self, declaration: TaskDeclaration, loop: str = "") -> None:
        """Add a task that runs as long as this process leads. `loop`: where a `join` loop declares it.

        Raises `TaskError`.
        """
        handler = loop or self._declares(self._running)
        if not handler or self.left is not None:
            raise TaskError(
                f"while_leading({declaration.name}) was called outside on_start, on_load and on_lead: call it there, "
                "because the next process has to start the same tasks"
            )
        self.tasks.declare(declaration, handler, self._steps)

    def end_tasks(self, within: float) -> bool:
        """Before this process ends: wait for the bot's threads; return whether one still runs."""
        self.tasks.end()
        self.tasks.join(within)
        return bool(self.tasks.running)

    def release(self) -> None:
        """Drop the lease of a worker that has left, once none of its tasks runs any more."""
        if self.left is not None and not self.tasks.running:
            self._io.lease.drop()

    def _declares(self, step: TurnStep | None) -> str:
        """The handler that runs in `step`, if it may declare tasks."""
        if step is None:
            return ""
        if step.turn is not None and step.turn.name in _LOADING_COMMANDS:
            return "on_load"
        return step.name if step.name in _DECLARING else ""

    def _declared(self, step: TurnStep) -> None:
        """A handler that may declare tasks has returned."""
        if not self.tasks:
            return
        if handler := self._declares(step):
            self.tasks.declared(handler, self._steps)
        if step.name == "on_lead":
            self.tasks.begin()
        if self.tasks.dirty:
            self._look_after_tasks()

    def _look_after_tasks(self) -> None:
        changed = self.tasks.look()
        if self.tasks.next_start:
            self._arm("tasks", max(0, self.tasks.next_start - self._mono()))
        if changed and self.left is None:
            self._announce()

    def _tasks_ended(self, now: int) -> bool:
        """Before a stop: tell the tasks to end; return whether all have, or have had their time."""
        if not self._stop_until:
            self._stop_until = now + self.bot.yield_within
            if self.tasks.end():
                self._arm("tasks", self.bot.yield_within)
        running = self.tasks.running
        if running and now >= self._stop_until:
            within = duration.about(self.bot.yield_within)
            report(
                f"ERROR: neverblink: {', '.join(running)} did not end within {within}; the bot stops all the same"
            )
            return True
        return not running

    def _may_refresh(self) -> bool:
        """Whether the bot looks at the newest state now."""
        if not self._refresh.stale:
            return False
        match self.seat.role:
            case Role.LEADING:
                return self._resume is not None
            case Role.FOLLOWING:
                return self.following.current and (self.following.brace_for > 0 or self._refresh.wait() == 0)
            case _:
                return False

    # --- the machine ------------------------------------------------------------------------------------------------

    def feed(self, event: SeatEvent) -> None:
        """Pass an event to the machine, and carry out its commands."""
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
                pass  # sent by `Leading.take_over`, when this worker is able to tick
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
        """Report everything to a supervisor that does not know this worker, because another one started it."""
        seat, tell = self.seat, self._io.tell
        tell(self._hello)
        for earlier in (self._ready, self.following.rehearsed):
            if earlier is not None:
                tell(earlier)
        tell(self._counters.report())
        for decision in self.leading.decisions.mine():
            tell(decision)
        if self.leading.handed is not None:
            tell(self.leading.handed)
        if seat.order is not None and seat.held:
            tell(link.Holding(seat.order.order, seat.held))

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
            # This worker has just yielded to it, so it is dead. Another follower may have connected during a
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
                found = from_journal(
                    replica,
                    io.journal,
                    self._me.known,
                    resume_readable,
                    go_back=self._me.last_readable,
                    recovers=self._me.recovers,
                )
                self._before = replica.led_by
                if epoch <= replica.epoch:
                    # The lease's file was lost, and its epoch with it. The journal has the epoch.
                    io.lease.drop()
                    epoch = io.lease.take(self._me.worker, replica.epoch)
                    if epoch is None:
                        self.feed(seat.LeaseRefused("", cause))
                        return
            else:
                self._before = self.following.leader if self.seat.role is Role.FOLLOWING else ""
                number = replica.number
                found = catch_up(replica, io.journal)
                if not self.seat.keeps and (refusal := replica.refusal()):
                    raise WouldLose(refusal)
                if cause == "takeback" and replica.number > number:
                    # The successor took over, and died before this worker received that.
                    cause, self._before = "failover", self.seat.leader
        except NeverblinkError as problem:
            io.lease.drop()
            self.fail("lead", problem.message)
            return
        self._follow_last_clock()
        if found.reloaded:
            self._hooks.append(self._refresh.load_step())
        if found.worth_reporting:
            self._io.tell(found.report(replica))
        replica.epoch = epoch
        self.leading.writer.begin_leading(found.problem, found.written)
        self._order = self.seat.heard
        self.feed(seat.LeaseTaken(epoch, cause))
        self._begin_at_once()

    def _follow_last_clock(self) -> None:
        """Adopt the time of the leader before, which may have been waiting whether a step of the clock lasts."""
        last = self.replica.last
        ago = self._mono() - last.timing.mono if last is not None else -1
        # A time of another boot cannot be compared. One that is so close is hardly of another boot.
        if last is not None and 0 <= ago < _SAME_CLOCK:
            self._io.clock.follow(last.timing.ended, last.timing.mono)

    def _drop_lease(self) -> None:
        self._io.sockets.stop_accepting()
        try:
            if self.seat.role is Role.YIELDING:
                self.leading.turns.close_epoch(self.seat.leader, self.seat.settled)
        except NeverblinkError as problem:
            self.fail("yield", problem.message)
        finally:
            self.leading.writer.let_go()
            self.leading.preparation.clear()
            # A process that fails keeps the lease while a thread of the bot still acts; see `release`.
            if not self.tasks.running:
                self._io.lease.drop()

    def _heartbeat(self, now: int) -> None:
        # Notices a step of the clock when it happens, even if ticks are far apart.
        self._io.clock.wall()
        self._announce()
        self._inbox_log.look()
        if self.seat.role is Role.FOLLOWING:
            self._feed_all(self.following.heartbeat(now, self.leading.turns.tick_due()))
        elif self.seat.order is not None and self._running is not None and self._running.turn is not None:
            # No boundary, but the supervisor learns what it waits for.
            turn = self._running.turn.title
            self.feed(seat.Boundary(decision=self.leading.decisions.open_name, turn=turn))

    # --- the end ----------------------------------------------------------------------------------------------------

    def _begin_leaving(self, command: seat.ExitProcess) -> None:
        if command.how == "fail":
            self._leave_now(command)
            return
        self._leave = command
        # Each `on_lead` is followed by an `on_yield` when another worker leads, however soon this one leaves.
        owed = command.how == "retire" and (self._led or any(step.name == "on_yield" for step in self._hooks))
        self._hooks.clear()
        if owed:
            self._led = False
            self._hooks.append(TurnStep("on_yield", self.bot.call_yield))
        if command.how == "stop":
            # Reports that no tick is due any more, however long `on_stop` takes.
            self._announce()

    def _last_step(self, leave: seat.ExitProcess) -> TurnStep | None:
        if leave.how == "stop":
            turn = self.leading.turns.stop_turn(self.bot.call_stop)
            return TurnStep("on_stop", turn.call, turn)
        if not self._started:
            self._leave_now(leave)
            return None
        if self._hooks:
            return self._hooks.popleft()
        return TurnStep("on_retire", self.bot.call_retire)

    def _leave_now(self, leave: seat.ExitProcess | None) -> None:
        """Release everything at once, because no work remains, however long the process takes to exit."""
        if self.left is not None or leave is None:
            return
        self.left = leave
        self.leading.writer.let_go()
        self.tasks.end()
        self.release()
        self._io.tell(self._counters.report(done=True))
        self._io.expect_exit(1 if leave.how == "fail" else 0)
        if self.tasks.running:
            self._io.exit_if(lambda: self.tasks.running)


def _how(problem: BaseException, description: str) -> str:
    """How a handler ended that is not allowed to fail."""
    return str(problem) if isinstance(problem, HookTimeout) else f"raised {description}"
