"""Following: a worker's part while another one leads.

It keeps the replica up with the leader's stream, has the real state loaded and judged (the rehearsal), passes on what
its inbox received, and, as a guard, watches whether the leader does its work. What it finds out are events for the
seat.
"""

from __future__ import annotations

from contextlib import suppress

from ...protocol import link, stream
from ...protocol import seat_events as seat
from ...protocol.assignment import Assignment
from ...protocol.journal import JournalError
from ...protocol.seat import Seat
from ...protocol.seat_events import SeatEvent
from ..model.cells import StateError
from ..model.replica import Replica
from .dry_run import DryRun
from .follower import (
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

__all__ = ["Following"]

_FREE_FOR = 2


class Following:
    """See the module. `pid` is this worker's process."""

    def __init__(self, me: Assignment, pid: int, seat: Seat, replica: Replica, io: WorkerIO) -> None:
        self.to_load = False
        """The state is here anew, and the bot's `on_load` has to see it."""
        self._seen = False
        """`on_load` has seen the copy that is here."""
        self.deployment = 0
        """Which deployment the last handoff to this worker belonged to."""
        self._me = me
        self._seat = seat
        self._free_since = 0
        """Since when the lease was seen to be free, CLOCK_MONOTONIC; 0 while it is held."""
        self._replica = replica
        self._io = io
        self._follower = Follower(me.worker, pid, replica, io)
        self._rehearsal = DryRun(replica, io)

    @property
    def leader(self) -> str:
        """Whom this worker follows, or followed last."""
        return self._follower.leader

    @property
    def rehearsed(self) -> link.Rehearsed | None:
        """What the last rehearsal found, None before there was one."""
        return self._rehearsal.found

    def connect(self, leader: str) -> bool:
        """Follow `leader`.

        Returns whether the lease is held: a leader that died before this worker connected is not one to wait for.
        """
        io, follower = self._io, self._follower
        follower.keeps = self._seat.keeps
        self._free_since = 0
        holder = io.lease.holder()
        if holder is not None and holder.holder == leader:
            io.watch(leader, holder.pid)
        follower.follow(leader)
        return holder is not None

    def receive(self, message: stream.LeaderMessage, *, loaded: bool) -> list[SeatEvent]:
        """The leader said something. `loaded`: the seat knows that the whole state is here."""
        events: list[SeatEvent] = []
        for bus in self._follower.receive(message):
            match bus:
                case CopyDone():
                    self._rehearsal.begin(bus)
                    self.to_load, self._seen = True, False
                case Lost():
                    self._rehearsal.drop()
                    self.to_load, self._seen = False, False
                    events.append(seat.Stale())
                case Unreadable(reason=reason):
                    if not self._follower.keeps:
                        self._io.tell(link.Failed("read", reason, ""))
                    events.append(seat.StreamUnreadable(reason))
                case AboutTo(order=order):
                    self._brace(order)
                case TakeOver(order=order, deployment=deployment):
                    # However it came.
                    self._io.final_frames.relax()
                    self.deployment = deployment
                    if not loaded:
                        self._io.to_leader(stream.Declined(order, "it has not loaded the state"))
                    events.append(seat.Received(order, self.leader))
                case Gone():
                    events.append(seat.LeaderGone(self.leader))
                case Judged(problem=problem):
                    if self._rehearsal.judged(problem):
                        events.append(seat.CaughtUp())
        return events

    def loaded(self) -> list[SeatEvent]:
        """The bot's `on_load` has seen the state."""
        if self.to_load:
            # Another copy has come meanwhile.
            return []
        self._seen = True
        if self._rehearsal.open and not self._follower.keeps:
            return self._ask()
        return [seat.CaughtUp()] if self._follower.live else []

    def pass_on(self) -> None:
        """What came in here while another leads goes to it."""
        new = self._replica.inbox.sort_in()
        if new:
            self._follower.offer(new)

    def heartbeat(self, now: int, tick_due: int) -> list[SeatEvent]:
        """Some time has passed. `tick_due`: when the leader's next tick was or is due (wall ns), 0 when unknown."""
        self._follower.keep_in_touch(now)
        waiting = self._replica.inbox.pending()
        if waiting:
            # An offer may be lost; the leader knows by the key what it has.
            self._follower.offer(waiting)
        asked: list[SeatEvent] = self._ask() if self._rehearsal.open and self._seen else []
        return asked + self._look_at_lease(now) + self._watch(now, tick_due)

    def _brace(self, order: int) -> None:
        """Be ready to take over: what comes of it is a shorter blackout, and nothing else."""
        io, replica = self._io, self._replica
        # All of it is done once more when it counts, and finds everything at hand.
        io.lease.prepare(self._me.worker, replica.epoch + 1)
        with suppress(JournalError):
            io.journal.attach(replica.position)
        with suppress(StateError):
            replica.cells.differing(replica.state)
        io.final_frames.expect()
        io.to_leader(stream.Braced(order))

    def _ask(self) -> list[SeatEvent]:
        """Ask the leader whether it could go on with what we would write; repeated until it has answered."""
        return [] if self._rehearsal.ask() else [seat.CaughtUp()]

    def _look_at_lease(self, now: int) -> list[SeatEvent]:
        """Follow the worker that holds the lease; when the lease has been free for long, report the leader as gone."""
        holder = self._io.lease.holder()
        if holder is not None:
            self._free_since = 0
            return [seat.LedBy(holder.holder)] if holder.holder else []
        self._free_since = self._free_since or now
        # Longer than a transfer may take, so that it is not cut short.
        if not self._seat.guard or now - self._free_since <= _FREE_FOR * self._me.lease_within:
            return []
        return [seat.LeaderGone(self.leader)]

    def _watch(self, now: int, tick_due: int) -> list[SeatEvent]:
        follower, bound = self._follower, self._me.hang_after
        if not (tick_due and self._seat.guard):
            return []
        if not follower.live:
            # It may hang since before it has answered us at all. Or our question was lost: we ask once more.
            bound += PATIENCE
        overdue = self._io.clock.wall() - tick_due
        if overdue <= bound or now - follower.heard <= bound:
            return []
        missing = (self._replica.seq or 0) + 1
        return [seat.Silent(f"no tick for {overdue / 1e9:.1f} s: tick {missing} never came")]
