"""The publisher: how a leader serves its followers.

A follower that lacks only recent frames gets those, from memory. Any other follower gets a copy: the root, then rows in
chunks small enough to fit between two ticks, with a limit on unconfirmed chunks. The leader never waits: a follower
whose queue is full loses messages, notices the gap and subscribes again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from ...protocol.frame import Changes, Frame, decode_frame
from ...protocol.journal import Opened, Position, Rows
from ...protocol.stream import (
    Ack,
    Begin,
    Brace,
    DecisionNoted,
    End,
    Failing,
    FrameSent,
    LeaderMessage,
    Refused,
    RowsSent,
    Subscribe,
    leader_codec,
)
from ...protocol.wire import ProtocolMismatch, negotiate
from ..model.migration import MigrationError, Translator
from ..model.replica import Replica
from .journal_writer import JournalWriter

__all__ = ["Publisher", "StateStream"]

MEMORY_FRAMES = 4096
MEMORY_BYTES = 8 * 1024 * 1024
CHUNKS_ON_THE_WAY = 8
LAG_ALLOWED = 32
"""How many frames a successor may not have confirmed: they precede the final frame in its queue. Followers confirm
every 16th frame, or after 20 ms."""


class _Kept(msgspec.Struct, frozen=True):
    """A frame in memory: its encoded body, which is cheap to keep and free, and the fields that are needed."""

    body: bytes
    position: Position
    prev: bytes
    cells: dict[str, bytes]


class _Follower(msgspec.Struct):
    worker: str
    pid: int
    acked: int = -1
    sent: int = 0
    """How many messages were sent to it."""
    chunk: int = 0
    chunks_acked: int = 0
    needs: int = 0
    """As in `Ack`."""
    copy: Iterator[RowsSent | End] | None = None
    translator: Translator | None = None
    """Translates for a follower on older code."""


class Publisher:
    """Serves followers from `replica`, by `send(worker, encoded message) -> bool`."""

    def __init__(self, replica: Replica, send: Callable[[str, bytes], bool]) -> None:
        self._replica = replica
        self._send = send
        self.copying = False
        """Whether a copy may be in progress."""
        self._followers: dict[str, _Follower] = {}
        self._memory: deque[_Kept] = deque()
        self._memory_bytes = 0
        self._base: dict[str, bytes] = {}
        """The root before the first frame in memory."""

    def __len__(self) -> int:
        return len(self._followers)

    def begin_leading(self) -> None:
        """Begin to lead: the next frame is the first of this worker."""
        self._memory.clear()
        self._memory_bytes = 0
        self._base = self._replica.cells.boundary()

    # messages from followers

    def subscribe(self, asked: Subscribe) -> None:
        """Serve a follower from its position on."""
        try:
            negotiate(asked.worker, asked.protocol)
        except ProtocolMismatch as problem:
            self._send(asked.worker, leader_codec.encode(Refused(str(problem))))
            return
        missing = self._after(asked.number, asked.digest)
        follower = _Follower(asked.worker, asked.pid, translator=self._translator_for(asked, missing))
        self._followers[asked.worker] = follower
        if missing is None:
            self._begin_copy(follower)
        else:
            follower.acked = asked.number
            for kept in missing:
                self._deliver(follower, kept)

    def ack(self, worker: str, ack: Ack) -> None:
        follower = self._followers.get(worker)
        if follower is not None:
            follower.acked = max(follower.acked, ack.number)
            follower.chunks_acked = max(follower.chunks_acked, ack.chunk)
            follower.needs = ack.needs

    def pid_of(self, worker: str) -> int:
        """The process id of a follower, 0 when it is unknown."""
        follower = self._followers.get(worker)
        return follower.pid if follower is not None else 0

    def needs_of(self, worker: str) -> int:
        """How long a follower needs to bring its bot up to date before it leads, ns."""
        follower = self._followers.get(worker)
        return follower.needs if follower is not None else 0

    def sent_to(self, worker: str) -> int:
        """How many messages were sent to a follower, -1 when it follows no more."""
        follower = self._followers.get(worker)
        return follower.sent if follower is not None else -1

    def caught_up(self, worker: str) -> bool:
        """Whether this follower has all but the last few frames."""
        follower = self._followers.get(worker)
        return (
            follower is not None
            and follower.copy is None
            and self._replica.number - follower.acked <= LAG_ALLOWED
        )

    # messages to followers

    def publish(self, frame: Frame, body: bytes, position: Position, but_for: str = "") -> None:
        """Send a frame to every follower except `but_for`, which has it already, and keep it in memory for a while."""
        memory = self._memory
        kept = _Kept(body, position, frame.prev, frame.changes.cells)
        memory.append(kept)
        self._memory_bytes += len(body)
        while len(memory) > MEMORY_FRAMES or (self._memory_bytes > MEMORY_BYTES and len(memory) > 1):
            oldest = memory.popleft()
            self._memory_bytes -= len(oldest.body)
            self._base.update(oldest.cells)
        if self._followers:
            plain = leader_codec.encode(FrameSent(body, position))
            for follower in tuple(self._followers.values()):
                if follower.worker != but_for:
                    self._deliver(follower, kept, frame.changes, plain)

    def noted(self, opened: Opened | None, closed: str = "") -> None:
        """Report an opened or closed decision to the followers."""
        self._broadcast(DecisionNoted(opened, closed))

    def brace(self, worker: str, order: int) -> None:
        """Ask the successor to prepare for the final frame of this order."""
        follower = self._followers.get(worker)
        if follower is not None:
            self._put(follower, leader_codec.encode(Brace(order)))

    def failing(self, reason: str) -> None:
        self._broadcast(Failing(reason))

    def pump(self, clock: Callable[[], int], until: int) -> bool:
        """Send chunks of copies until `clock()` (ns) reaches `until`; return whether more could be sent."""
        while True:
            sent = False
            for follower in tuple(self._followers.values()):
                if follower.copy is None or follower.chunk - follower.chunks_acked >= CHUNKS_ON_THE_WAY:
                    continue
                self._send_chunk(follower, follower.copy)
                sent = True
                if clock() >= until:
                    return True
            if not sent:
                self.copying = any(follower.copy is not None for follower in self._followers.values())
                return False

    def hurry(self) -> None:
        """Send one chunk of each copy, although there is no free time."""
        for follower in tuple(self._followers.values()):
            if follower.copy is not None and follower.chunk - follower.chunks_acked < CHUNKS_ON_THE_WAY:
                self._send_chunk(follower, follower.copy)

    def forget(self) -> None:
        """Stop leading."""
        self._followers.clear()
        # Freed now, because it takes a while: when this worker leads again, the handoff would wait for it.
        self._memory.clear()
        self._memory_bytes = 0

    # a copy

    def _begin_copy(self, follower: _Follower) -> None:
        head = self._replica.snapshot()
        translator = follower.translator
        if translator is not None:
            head = msgspec.structs.replace(head, schema=translator.target, cells=translator.load(head.cells))
        follower.acked = -1
        follower.copy = self._chunks(follower, self._replica.copy_rows())
        self.copying = True
        self._put(follower, leader_codec.encode(Begin(head, self._replica.position)))

    def _chunks(self, follower: _Follower, copy: Iterator[Rows]) -> Iterator[RowsSent | End]:
        for chunk in copy:
            rows = chunk.rows
            if follower.translator is not None:
                rows = follower.translator.rows(chunk.table, rows)
            follower.chunk += 1
            yield RowsSent(follower.chunk, chunk.table, rows)
        yield End(self._replica.number)

    def _send_chunk(self, follower: _Follower, copy: Iterator[RowsSent | End]) -> None:
        try:
            message = next(copy)
        except MigrationError as problem:
            self._followers.pop(follower.worker, None)
            self._send(follower.worker, leader_codec.encode(Refused(str(problem))))
            return
        if isinstance(message, End):
            follower.copy = None
        self._put(follower, leader_codec.encode(message))

    # frames

    def _deliver(
        self, follower: _Follower, kept: _Kept, changes: Changes | None = None, plain: bytes | None = None
    ) -> None:
        if follower.translator is not None:
            changes = decode_frame(kept.body).changes if changes is None else changes
        if follower.translator is not None and changes:
            try:
                translated = follower.translator.translate(changes)
            except MigrationError:
                # The follower will notice that it cannot read the frame, and keep its state.
                follower.translator = None
            else:
                self._put(follower, leader_codec.encode(FrameSent(kept.body, kept.position, translated)))
                return
        self._put(follower, plain or leader_codec.encode(FrameSent(kept.body, kept.position)))

    def _put(self, follower: _Follower, data: bytes) -> None:
        # A message that is not queued is lost. The follower is dropped; it notices the gap and subscribes again.
        follower.sent += 1
        if not self._send(follower.worker, data):
            self._followers.pop(follower.worker, None)

    def _broadcast(self, message: LeaderMessage) -> None:
        if self._followers:
            data = leader_codec.encode(message)
            for follower in tuple(self._followers.values()):
                self._put(follower, data)

    def _after(self, number: int, digest: bytes) -> list[_Kept] | None:
        """The frames after `number`, None when they are not in memory or belong to another chain."""
        if number == self._replica.number:
            return [] if digest == self._replica.digest else None
        behind = self._replica.number - number
        if number < 0 or not 0 < behind <= len(self._memory):
            return None
        missing = list(islice(self._memory, len(self._memory) - behind, None))
        return missing if missing[0].prev == digest else None

    def _translator_for(self, asked: Subscribe, missing: list[_Kept] | None) -> Translator | None:
        """The translator for a follower on older code, from the first missing frame on; None when it needs none."""
        replica = self._replica
        if asked.schema.version >= replica.schema.version:
            return None
        root = dict(self._base)
        for kept in islice(self._memory, len(self._memory) - len(missing or ())):
            root.update(kept.cells)
        try:
            translator = Translator(replica.migrations, replica.schema, asked.schema)
            translator.load(root)
        except MigrationError:
            return None
        return translator


class StateStream(NamedTuple):
    """The way of each of a leader's records: it is journaled, applied to the replica and published, in that order."""

    replica: Replica
    writer: JournalWriter
    publisher: Publisher
