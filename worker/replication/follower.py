"""The follower: how a worker keeps up with the leader's stream.

It subscribes with its position, takes a copy if necessary, then applies each frame. It returns what happened as events
to the engine and decides nothing. After a gap in the stream it subscribes again, which is harmless if it was not
needed: frames that it already has are ignored.
"""

from __future__ import annotations

import msgspec

from ...protocol.frame import Frame, Item, decode_frame
from ...protocol.journal import Position
from ...protocol.stream import (
    Ack,
    Begin,
    Brace,
    DecisionNoted,
    Declined,
    End,
    Failing,
    Final,
    FrameSent,
    LeaderMessage,
    Offer,
    Refused,
    RowsSent,
    Subscribe,
    Verdict,
)
from ...protocol.wire import PROTOCOL, WireError
from ..model.cells import StateError, StateUnreadable
from ..model.migration import MigrationError
from ..model.replica import ChainBroken, Replica
from .interfaces import WorkerIO

__all__ = [
    "AboutTo",
    "CopyDone",
    "Follower",
    "FollowerEvent",
    "Gone",
    "Judged",
    "Lost",
    "TakeOver",
    "Unreadable",
]

OFFERED_AT_ONCE = 1_000
"""Items in one message; and how many, the oldest, are offered once more now and then."""
ACK_FRAMES = 16
ACK_WITHIN = 20_000_000
PATIENCE = 1_000_000_000
"""Subscribe again when the leader has sent nothing for this long, ns."""


class CopyDone(msgspec.Struct, frozen=True):
    """A copy is complete: its size in bytes and rows, and how long it took, ns."""

    bytes: int
    rows: int
    took: int


class Lost(msgspec.Struct, frozen=True):
    """This worker's state is no longer a state of the leader; a new copy is needed."""


class Unreadable(msgspec.Struct, frozen=True):
    """This code cannot read the state."""

    reason: str


class TakeOver(msgspec.Struct, frozen=True):
    """The final frame was applied: this worker can take over."""

    order: int
    deployment: int


class AboutTo(msgspec.Struct, frozen=True):
    """The leader is about to yield to this worker."""

    order: int


class Gone(msgspec.Struct, frozen=True):
    """The leader has announced that it leaves."""

    reason: str


class Judged(msgspec.Struct, frozen=True):
    """The leader's answer to a `Trial`: "" when it could read the state."""

    problem: str


FollowerEvent = CopyDone | Lost | Unreadable | AboutTo | TakeOver | Gone | Judged


class Follower:
    """Keeps `replica` up to date with a leader."""

    def __init__(self, me: str, pid: int, replica: Replica, io: WorkerIO) -> None:
        self._me = me
        self._pid = pid
        self._replica = replica
        self._io = io
        self.keeps = False
        """Freeze the replica when the stream cannot be read, instead of failing. Set by the engine."""
        self.leader = ""
        self.live = False
        """The state equals the leader's as of the last frame received."""
        self.heard = 0
        """When the last message came from the leader, or `follow` was called, CLOCK_MONOTONIC."""
        self._asked_at = 0
        self._asked = False
        """Subscribed, and no fitting answer has come yet."""
        self._copying = False
        self._copied_bytes = 0
        self._copied_rows = 0
        self._copy_since = 0
        self._chunk = 0
        self._behind: list[FrameSent] = []
        """Frames that came during a copy. They are applied after it, to keep the order of rows."""
        self.needs = 0
        """How long the bot needs to bring what it derives from the state up to date, ns."""
        self._acked = -1
        self._acked_at = 0

    @property
    def refusal(self) -> str:
        """Why this code may not take over what it follows: values would be lost. "" when it may."""
        return "" if self.keeps else self._replica.refusal()

    def follow(self, leader: str) -> None:
        """Begin to follow `leader`."""
        self.leader = leader
        self.heard = self._io.clock.mono()
        self._io.connect(leader)
        self.subscribe()

    def subscribe(self) -> None:
        """Subscribe to the stream from this replica's position on."""
        # `heard` is not set here: a leader that never answers counts as silent.
        self._asked_at = self._io.clock.mono()
        self._asked = True
        replica = self._replica
        if self._copying:
            # An incomplete copy is not a state.
            self._copying = False
            replica.number = -1
        self._io.to_leader(
            Subscribe(self._me, PROTOCOL, replica.schema, replica.number, replica.digest, self._pid)
        )
        replica.inbox.sort_in()
        waiting = replica.inbox.only_here(OFFERED_AT_ONCE)
        if waiting:
            self.offer(waiting)

    def offer(self, items: list[Item]) -> None:
        """Pass on what came in here, in messages that the leader can take between two turns."""
        for at in range(0, len(items), OFFERED_AT_ONCE):
            self._io.to_leader(Offer(items[at : at + OFFERED_AT_ONCE]))

    def tell_needs(self, needs: int) -> None:
        """Tell the leader that the bot needs so long."""
        if needs != self.needs:
            self.needs = needs
            if self.live:
                self._ack()

    def keep_in_touch(self, now: int) -> None:
        """Subscribe again if the leader has been silent for too long. Call it regularly."""
        if self.leader and now - max(self.heard, self._asked_at) > PATIENCE:
            self.subscribe()

    def receive(self, message: LeaderMessage) -> list[FollowerEvent]:
        """Process one message from the leader."""
        self.heard = self._io.clock.mono()
        try:
            match message:
                case FrameSent() if self._copying:
                    self._behind.append(message)
                    return []
                case FrameSent(body=body):
                    return self._frame(decode_frame(body), message)
                case Final(body=body):
                    return self._final(decode_frame(body), message)
                case Begin():
                    return self._begin(message)
                case RowsSent():
                    return self._rows(message) if self._copying else []
                case End():
                    return self._end()
                case DecisionNoted(opened=opened, closed=closed):
                    self._replica.note(opened, closed)
                    return []
                case Brace(order=order):
                    return [AboutTo(order)] if self.live else []
                case Failing(reason=reason):
                    return [Gone(reason)]
                case Verdict(problem=problem):
                    return [Judged(problem)]
                case Refused(reason=reason):
                    return self._unreadable(reason)
        except WireError as problem:
            return self._unreadable(str(problem))

    def _begin(self, message: Begin) -> list[FollowerEvent]:
        replica = self._replica
        if self.keeps and replica.frozen:
            return []
        lost: list[FollowerEvent] = [Lost()] if self.live else []
        self.live = False
        self._asked = False
        self._copying = True
        self._copy_since = self.heard
        self._copied_rows = 0
        self._copied_bytes = sum(map(len, message.head.cells.values()))
        self._chunk = 0
        self._behind = []
        try:
            replica.restore(message.head, message.position)
        except (StateUnreadable, MigrationError) as problem:
            self._copying = False
            return [*lost, *self._unreadable(str(problem))]
        self._ack()
        return lost

    def _rows(self, message: RowsSent) -> list[FollowerEvent]:
        try:
            self._replica.add_rows(message.table, message.rows)
        except (StateUnreadable, MigrationError) as problem:
            self._copying = False
            self._replica.number = -1
            return self._unreadable(str(problem))
        self._copied_rows += len(message.rows)
        self._copied_bytes += sum(len(key) + len(row) for key, row in message.rows)
        self._chunk = message.chunk
        self._ack()
        return []

    def _end(self) -> list[FollowerEvent]:
        if not self._copying:
            return []
        self._copying = False
        self.live = True
        behind, self._behind = self._behind, []
        events = [event for sent in behind for event in self._frame(decode_frame(sent.body), sent)]
        if events or not self.live:
            return events
        self._ack()
        if refusal := self.refusal:
            return self._unreadable(refusal)
        return [CopyDone(self._copied_bytes, self._copied_rows, self.heard - self._copy_since)]

    def _frame(self, frame: Frame, message: FrameSent) -> list[FollowerEvent]:
        if frame.number <= self._replica.number:
            return []
        events = self._apply(frame, message.body, message.position, message)
        if frame.number - self._acked >= ACK_FRAMES or self.heard - self._acked_at >= ACK_WITHIN:
            self._ack()
        return events

    def _final(self, frame: Frame, message: Final) -> list[FollowerEvent]:
        if not self.live:
            self._io.to_leader(Declined(message.order, "it has not caught up"))
            return []
        events = self._apply(frame, message.body, message.position, None)
        if self._replica.number != frame.number:
            self._io.to_leader(Declined(message.order, "frames before the final one are missing"))
            return events
        if refusal := self.refusal:
            self._io.to_leader(Declined(message.order, refusal))
            return [*events, *self._unreadable(refusal)]
        self._replica.inbox.handed(message.pending, message.aside)
        return [*events, TakeOver(message.order, message.deployment)]

    def _apply(
        self, frame: Frame, body: bytes, position: Position, message: FrameSent | None
    ) -> list[FollowerEvent]:
        replica = self._replica
        translated = message.translated if message is not None else None
        try:
            replica.apply(frame, body, position, translated)
        except ChainBroken:
            lost: list[FollowerEvent] = []
            if frame.number <= replica.number + 1:
                # Another chain, which does not continue this worker's state.
                replica.number = -1
                lost = [Lost()] if self.live else []
                self.live = False
            if not self._asked:
                self.subscribe()
            return lost
        except (StateError, StateUnreadable, MigrationError) as problem:
            events = self._unreadable(str(problem))
            if self.keeps:
                replica.apply(frame, body, position)
            return events
        else:
            self._asked = False
            if message is not None and self.live:
                replica.lag = max(replica.lag, self._io.clock.wall() - frame.timing.ended)
            # Also without a copy, when the leader resumed at this worker's position.
            self.live = True
            if message is not None and (refusal := self.refusal):
                # What was a field's default when it was copied holds a value now.
                return self._unreadable(refusal)
        return []

    def _unreadable(self, reason: str) -> list[FollowerEvent]:
        if self.keeps:
            self._replica.freeze(reason)
        return [Unreadable(reason)]

    def _ack(self) -> None:
        self._acked = self._replica.number
        self._acked_at = self.heard
        self._io.to_leader(Ack(self._acked, self._chunk, self.needs))
