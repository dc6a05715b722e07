"""The follower: how a worker keeps up with the leader's stream.

It subscribes with what it has, takes a copy when it must, then applies frame after frame. What it finds out is
returned to the engine as news; it decides nothing. A hole in the stream is answered with a new subscription, which is
harmless when it was not needed: frames it already has are passed over.
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
from ...protocol.versions import PROTOCOL
from ...protocol.wire import WireError
from ..model.cells import StateError, StateUnreadable
from ..model.migration import MigrationError
from ..model.replica import ChainBroken, Replica
from .interfaces import WorkerIO

__all__ = ["AboutTo", "CopyDone", "Follower", "Gone", "Judged", "Lost", "News", "TakeOver", "Unreadable"]

ACK_FRAMES = 16
ACK_WITHIN = 20_000_000
PATIENCE = 1_000_000_000
"""Without a word from the leader for this long, subscribe again."""


class CopyDone(msgspec.Struct, frozen=True):
    """The whole state is here: so many bytes and rows, in so many ns."""

    bytes: int
    rows: int
    took: int


class Lost(msgspec.Struct, frozen=True):
    """A new copy has begun; what this worker had no longer is a state of the leader's."""


class Unreadable(msgspec.Struct, frozen=True):
    """This code cannot read the state; why."""

    reason: str


class TakeOver(msgspec.Struct, frozen=True):
    """The final frame is applied."""

    order: int
    deployment: int


class AboutTo(msgspec.Struct, frozen=True):
    """The leader is about to yield to us."""

    order: int


class Gone(msgspec.Struct, frozen=True):
    """The leader said that it leaves."""

    reason: str


class Judged(msgspec.Struct, frozen=True):
    """The leader's answer to a trial: empty when it could read the state."""

    problem: str


News = CopyDone | Lost | Unreadable | AboutTo | TakeOver | Gone | Judged


class Follower:
    """Keeps `replica` up with a leader. `keeps` (set by the engine): rather freeze than give up."""

    def __init__(self, me: str, pid: int, replica: Replica, io: WorkerIO) -> None:
        self._me = me
        self._pid = pid
        self._replica = replica
        self._io = io
        self.keeps = False
        self.leader = ""
        self.live = False
        """The state is the leader's, up to the last frame received."""
        self.heard = 0
        """When the leader was heard last, or we turned to it, CLOCK_MONOTONIC."""
        self._asked_at = 0
        self._asked = False
        """Subscribed, and nothing that fits has come yet."""
        self._copying = False
        self._copied_bytes = 0
        self._copied_rows = 0
        self._copy_since = 0
        self._chunk = 0
        self._behind: list[FrameSent] = []
        """Frames that came during a copy. They are applied after it: a row keeps its place in its table's order."""
        self._acked = -1
        self._acked_at = 0

    def follow(self, leader: str) -> None:
        """Turn to `leader`."""
        self.leader = leader
        self.heard = self._io.clock.mono()
        self._io.connect(leader)
        self.subscribe()

    def subscribe(self) -> None:
        """Ask for what comes after what we have."""
        # Asking is not hearing: a leader that never answers must be found silent.
        self._asked_at = self._io.clock.mono()
        self._asked = True
        replica = self._replica
        if self._copying:
            # Half a copy is not a state.
            self._copying = False
            replica.number = -1
        self._io.to_leader(
            Subscribe(self._me, PROTOCOL, replica.schema, replica.number, replica.digest, self._pid)
        )
        waiting = replica.inbox.pending()
        if waiting:
            self.offer(waiting)

    def offer(self, items: list[Item]) -> None:
        """Pass on what came in here."""
        self._io.to_leader(Offer(items))

    def keep_in_touch(self, now: int) -> None:
        """Subscribe again when the leader has been silent for too long; call now and then."""
        if self.leader and now - max(self.heard, self._asked_at) > PATIENCE:
            self.subscribe()

    def receive(self, message: LeaderMessage) -> list[News]:
        """Take in one message."""
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

    def _begin(self, message: Begin) -> list[News]:
        replica = self._replica
        if self.keeps and replica.frozen:
            return []
        lost: list[News] = [Lost()] if self.live else []
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

    def _rows(self, message: RowsSent) -> list[News]:
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

    def _end(self) -> list[News]:
        if not self._copying:
            return []
        self._copying = False
        self.live = True
        behind, self._behind = self._behind, []
        bus = [found for sent in behind for found in self._frame(decode_frame(sent.body), sent)]
        if bus or not self.live:
            return bus
        self._ack()
        return [CopyDone(self._copied_bytes, self._copied_rows, self.heard - self._copy_since)]

    def _frame(self, frame: Frame, message: FrameSent) -> list[News]:
        if frame.number <= self._replica.number:
            return []
        bus = self._apply(frame, message.body, message.position, message)
        if frame.number - self._acked >= ACK_FRAMES or self.heard - self._acked_at >= ACK_WITHIN:
            self._ack()
        return bus

    def _final(self, frame: Frame, message: Final) -> list[News]:
        if not self.live:
            self._io.to_leader(Declined(message.order, "it has not caught up"))
            return []
        bus = self._apply(frame, message.body, message.position, None)
        if self._replica.number != frame.number:
            self._io.to_leader(Declined(message.order, "frames before the final one are missing"))
            return bus
        self._replica.inbox.admit(message.pending)
        return [*bus, TakeOver(message.order, message.deployment)]

    def _apply(self, frame: Frame, body: bytes, position: Position, message: FrameSent | None) -> list[News]:
        replica = self._replica
        translated = message.translated if message is not None else None
        try:
            replica.apply(frame, body, position, translated)
        except ChainBroken:
            lost: list[News] = []
            if frame.number <= replica.number + 1:
                # Another chain: its writer did not build on what this worker has.
                replica.number = -1
                lost = [Lost()] if self.live else []
                self.live = False
            if not self._asked:
                self.subscribe()
            return lost
        except (StateError, StateUnreadable, MigrationError) as problem:
            bus = self._unreadable(str(problem))
            if self.keeps:
                replica.apply(frame, body, position)
            return bus
        else:
            self._asked = False
            if message is not None and self.live:
                behind = self._io.clock.wall() - frame.timing.ended
                replica.lag = max(replica.lag, behind)
            if not self.live:
                # The leader resumed where we were: no copy was needed.
                self.live = True
        return []

    def _unreadable(self, reason: str) -> list[News]:
        if self.keeps:
            self._replica.deploy_lock(reason)
        return [Unreadable(reason)]

    def _ack(self) -> None:
        self._acked = self._replica.number
        self._acked_at = self.heard
        self._io.to_leader(Ack(self._acked, self._chunk))
