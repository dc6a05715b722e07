"""Following: the part of a worker that does not lead, with the rehearsal of new code.

It keeps the replica up to date with the leader's stream, has the bot load the real state, sends the items of its inbox
to the leader and, as a guard, watches whether the leader ticks. It returns what happened as events for the seat.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

from ...protocol import link, stream
from ...protocol import seat_events as seat
from ...protocol.assignment import Assignment
from ...protocol.frame import Changes, Item
from ...protocol.journal import JournalError
from ...protocol.link import Rehearsed
from ...protocol.seat import Seat
from ...protocol.seat_events import SeatEvent
from ...protocol.stream import Trial
from ..model.cells import StateError
from ..model.migration import MigrationError, Translator
from ..model.replica import Replica
from ..model.verifier import VerificationFailed
from .follower import (
    OFFERED_AT_ONCE,
    PATIENCE,
    AboutTo,
    CopyDone,
    Follower,
    Gone,
    Judged,
    Lost,
    TakeOver,
    Unreadable,
)
from .interfaces import WorkerIO

__all__ = ["NEWEST", "DryRun", "Following"]

NEWEST = "newest"
"""The value of `Rehearsed.rollback` when the old code can read what the new code writes."""
_SAMPLE_ROWS = 16
_FREE_FOR = 2


class DryRun:
    """The rehearsal of one copy: could the old code follow what this code will write?

    Once the bot's `on_load` has seen the copy, the new worker sends the leader the state as it would be after the
    handoff, translated back if there is a migration back. The leader decodes it, discards it and answers. So `deploy`
    knows before the cutover whether a rollback keeps the newest state.
    """

    def __init__(self, replica: Replica, io: WorkerIO) -> None:
        self._replica = replica
        self._io = io
        self._copied: CopyDone | None = None
        self._trial: Trial | None = None
        self._problem = ""
        self.found: Rehearsed | None = None
        """The result, None until there is one."""

    @property
    def open(self) -> bool:
        """Whether the answer for the present copy is still missing."""
        return self._copied is not None

    def begin(self, copied: CopyDone) -> None:
        """Take a sample of the complete copy, for the leader to read."""
        self._copied = copied
        self._trial, self._problem = None, ""
        try:
            self._trial = Trial(self._replica.leader_schema, self._sample())
        except MigrationError as problem:
            self._problem = str(problem)

    def drop(self) -> None:
        """Forget the copy, which is no longer a state of the leader."""
        self._copied = None

    def ask(self) -> bool:
        """Ask the leader; return whether an answer is needed."""
        if self._trial is None:
            self.finish(self._problem)
            return False
        self._io.to_leader(self._trial)
        return True

    def finish(self, problem: str) -> bool:
        """Report the leader's answer, "" when it could read everything. Returns False when no rehearsal was open."""
        copied, self._copied = self._copied, None
        if copied is None:
            return False
        self.found = Rehearsed(
            copied.bytes, copied.rows, copied.took, problem or NEWEST, self._replica.changes()
        )
        self._io.tell(self.found)
        return True

    def _sample(self) -> Changes:
        replica = self._replica
        cells, state = replica.cells, replica.state
        root = cells.root(state)
        tables: dict[str, list[tuple[bytes, bytes | None]]] = {
            table: list(cells.rows(state, table, islice(cells.keys(state, table), _SAMPLE_ROWS)))
            for table, size in cells.sizes(state).items()
            if size
        }
        if replica.leader_schema.version == replica.schema.version:
            return Changes(root, tables)
        back = Translator(replica.migrations, replica.schema, replica.leader_schema)
        return Changes(back.load(root), back.translate(Changes({}, tables)).tables)


_AT_ONCE = 100
_LATER = 250_000_000
_OFFERED_LATER = 2_000
"""How many items are offered in how long at most: a leader that is behind must not be held up by them."""


class Following:
    """Follows for worker `me`, whose process is `pid`."""

    def __init__(self, me: Assignment, pid: int, seat: Seat, replica: Replica, io: WorkerIO) -> None:
        self.to_load = False
        """A new copy of the state has come, which `on_load` has not seen."""
        self._seen = False
        """`on_load` has seen the present copy."""
        self.brace_for = 0
        """The order for which this worker prepares once its bot is up to date, 0 for none."""
        self.deployment = 0
        """The deployment of the last handoff to this worker."""
        self._me = me
        self._seat = seat
        self._free_since = 0
        """Since when the lease is free, as far as seen, CLOCK_MONOTONIC; 0 while it is held."""
        self._replica = replica
        self._io = io
        self._later: list[Item] = []
        """Items to be offered at `_later_at`, CLOCK_MONOTONIC, unless the leader has reported them by then."""
        self._later_at = 0
        self._at_once = _AT_ONCE
        """How many more may be offered before that."""
        self._follower = Follower(me.worker, pid, replica, io)
        self._rehearsal = DryRun(replica, io)

    @property
    def leader(self) -> str:
        """The worker that this one follows, or followed last."""
        return self._follower.leader

    @property
    def rehearsed(self) -> link.Rehearsed | None:
        """The result of the last rehearsal, None before the first."""
        return self._rehearsal.found

    def connect(self, leader: str) -> bool:
        """Follow `leader`.

        Returns whether the lease is held. If not, the leader died before this worker connected.
        """
        io, follower = self._io, self._follower
        follower.keeps = self._seat.keeps
        self._later.clear()
        self._free_since = 0
        holder = io.lease.holder()
        if holder is not None and holder.holder == leader:
            io.watch(leader, holder.pid)
        follower.follow(leader)
        return holder is not None

    def receive(self, message: stream.LeaderMessage, *, loaded: bool) -> list[SeatEvent]:
        """Process a message from the leader. `loaded`: the seat knows that the bot has loaded the whole state."""
        events: list[SeatEvent] = []
        for event in self._follower.receive(message):
            match event:
                case CopyDone():
                    if (problem := self._not_read_back()) is not None:
                        events.append(problem)
                        break
                    self._rehearsal.begin(event)
                    self.to_load, self._seen = True, False
                case Lost():
                    self._rehearsal.drop()
                    self.to_load, self._seen = False, False
                    events.append(seat.Stale())
                case Unreadable(reason=reason):
                    if not self._follower.keeps:
                        self._io.tell(link.Failed("read", reason, "", self._replica.changes()))
                    events.append(seat.StreamUnreadable(reason))
                case AboutTo(order=order) if self._replica.changed:
                    self.brace_for = order
                case AboutTo(order=order):
                    self._brace(order)
                case TakeOver(order=order, deployment=deployment):
                    # The final frame has come, by this way or through ZeroMQ.
                    self._io.final_frames.relax()
                    self.brace_for = 0
                    self.deployment = deployment
                    if not loaded:
                        self._io.to_leader(stream.Declined(order, "it has not loaded the state"))
                    events.append(seat.Received(order, self.leader))
                case Gone():
                    events.append(seat.LeaderGone(self.leader))
                case Judged(problem=problem):
                    if self._rehearsal.finish(problem):
                        events.append(seat.CaughtUp())
        return events

    def loaded(self) -> list[SeatEvent]:
        """The bot's `on_load` has seen the state."""
        if self.to_load:
            # Another copy came meanwhile.
            return []
        self._seen = True
        if self._rehearsal.open and not self._follower.keeps:
            return self._ask()
        return [seat.CaughtUp()] if self._follower.live else []

    def _not_read_back(self) -> SeatEvent | None:
        """Verify the copy, with this code's own defaults in it, as the process after this one would read it."""
        problems = [] if self._follower.keeps else self._replica.verifier.check_all(self._replica.state)
        if not problems:
            return None
        reason = VerificationFailed(problems).message
        self._io.tell(link.Failed("read", reason, ""))
        return seat.StreamUnreadable(reason)

    @property
    def current(self) -> bool:
        """Whether the state is one of the leader's, and not a copy that `on_load` has not seen."""
        return self._follower.live and not self.to_load

    def refreshed(self, needs: int) -> None:
        """The bot has looked at the newest state, which took `needs` ns."""
        self._follower.tell_needs(needs)
        if self.brace_for and not self._replica.changed:
            order, self.brace_for = self.brace_for, 0
            self._brace(order)

    def pass_on(self) -> None:
        """Send new items of the inbox to the leader.

        A few go at once. When there are many, the leader mostly receives them too, and only those go that it has not
        reported a moment later.
        """
        inbox = self._replica.inbox
        new = inbox.sort_in()
        if not (new or self._later):
            return
        now = self._io.clock.mono()
        if now >= self._later_at:
            received = inbox.received
            unreported = [item for item in self._later if item.key in received]
            due, self._later = unreported[:_OFFERED_LATER], unreported[_OFFERED_LATER:]
            self._later_at = now + _LATER
            self._at_once = _AT_ONCE
            self._follower.offer(due)
        self._follower.offer(new[: self._at_once])
        self._later += new[self._at_once :]
        self._at_once -= min(self._at_once, len(new))

    def heartbeat(self, now: int, tick_due: int) -> list[SeatEvent]:
        """Do regular checks. `tick_due`: when the leader's next tick is or was due (wall ns), 0 when unknown."""
        self._follower.keep_in_touch(now)
        waiting = self._replica.inbox.only_here(OFFERED_AT_ONCE)
        if waiting:
            # Repeated, because an offer may be lost. The leader ignores known keys.
            self._follower.offer(waiting)
        asked: list[SeatEvent] = self._ask() if self._rehearsal.open and self._seen else []
        return asked + self._look_at_lease(now) + self._watch(now, tick_due)

    def _brace(self, order: int) -> None:
        """Prepare to take over, only to make the blackout shorter."""
        io, replica = self._io, self._replica
        # Before the answer: the leader does not yield before its own feed has reached what ours began with.
        self.pass_on()
        # All of this is done again in the handoff, where it is faster because of this.
        io.lease.prepare(self._me.worker, replica.epoch + 1)
        with suppress(JournalError):
            io.journal.attach(replica.position)
        with suppress(StateError):
            replica.cells.differing(replica.state)
        io.final_frames.expect()
        io.to_leader(stream.Braced(order))

    def _ask(self) -> list[SeatEvent]:
        """Ask the leader whether it could read what this code would write. Repeated until it answers."""
        return [] if self._rehearsal.ask() else [seat.CaughtUp()]

    def _look_at_lease(self, now: int) -> list[SeatEvent]:
        """Follow the holder of the lease. When the lease has been free for too long, report the leader as gone."""
        holder = self._io.lease.holder()
        if holder is not None:
            self._free_since = 0
            return [seat.LedBy(holder.holder)] if holder.holder else []
        self._free_since = self._free_since or now
        # Longer than a transfer may take, so as not to interrupt one.
        if not self._seat.guard or now - self._free_since <= _FREE_FOR * self._me.lease_within:
            return []
        return [seat.LeaderGone(self.leader)]

    def _watch(self, now: int, tick_due: int) -> list[SeatEvent]:
        follower, bound = self._follower, self._me.hang_after
        if not (tick_due and self._seat.guard):
            return []
        if not follower.live:
            # The leader may have hung before it ever answered, or the subscription was lost and is repeated first.
            bound += PATIENCE
        overdue = self._io.clock.wall() - tick_due
        if overdue <= bound or now - follower.heard <= bound:
            return []
        missing = (self._replica.seq or 0) + 1
        return [seat.Silent(f"no tick for {overdue / 1e9:.1f} s: tick {missing} never came")]
