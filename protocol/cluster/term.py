"""The term: one host's view of the right to run a bot, when there are several hosts.

The right is a record in the bot's log, which a consensus engine keeps (NATS JetStream, PostgreSQL). Each append is a
compare-and-append: it succeeds only behind the record that the writer expects. So two hosts cannot both have the last
word, whatever they believe of each other. This machine takes events and returns commands; its driver talks to the
engine, and writes the *fence*: until when the worker on this host may begin turns.

The rules:

1. One append is in flight, and carries all that waits. It expects a record whose bytes are known. Anything but success
   proves nothing: the log is read, and the digest in the expected place decides. If the place is still empty the same
   bytes are sent again, because the first sending may yet arrive.
2. The fence is open until the sending of the last acknowledged append + `lease` − 3 %. A record that was sent more than
   once counts from its first sending. A host that holds the term appends a BEAT every `renew`.
3. A host takes over when it has read nothing new for `lease` + `drift`, by a TERM that expects the last record it read.
   If the holder has written anything since, the engine refuses. The holder counts from sending, the other from
   receiving, so the holder always ends first.
4. A YIELD ends a term. The fence is shut before it is sent, and stays shut. The host that it names may append a TERM at
   once, the one that wrote it after `lease_within`, any other after the wait of rule 3.
5. A term begins with the acknowledgement of its TERM, if the record before it was *read*. A YIELD that came directly is
   enough to append a TERM, but not to begin: another record may have taken its place.
6. A record that does not name the record before it is void. So is one whose term is not the one that runs.
7. A host that restarts begins a new term, so each term has one writer.

An engine that loses acknowledged records breaks the premise of these rules. The machine compares what it reads with
what was acknowledged; if they differ it shuts the fence and stops. After a TERM, the fence is extended only once that
TERM was read back, so two hosts that such an engine let into one term run together for one lease at most.

Nothing drives it yet: neverblink runs on one host.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .log_record import EMPTY, MAX_RECORD, LogEntry, LogKind, LogRecord, RecordPosition, entry_of, log_codec
from .term_events import (
    AppendLanded,
    AppendRecord,
    AppendUnknown,
    BeginTerm,
    ConfirmParts,
    DeliverEntry,
    EndTerm,
    KeepAside,
    LogRead,
    OpenFence,
    ReadLog,
    ReplicatorStarted,
    ReportLost,
    SendYield,
    Ship,
    ShutFence,
    TermCommand,
    TermEvent,
    TermRole,
    TimePassed,
    YieldReceived,
    YieldTerm,
)

__all__ = ["NEVER", "Flight", "Term", "TermBounds"]

NEVER = 2**63 - 1
_ROOM_FOR_PARTS = MAX_RECORD - 4096
"""What is left for journal records in a log record: the rest is its head and the lengths."""


class TermBounds(msgspec.Struct, frozen=True):
    """Lengths of time, ns. `open_for` < `wait_for` by more than two clocks can differ in that time."""

    open_for: int
    """From the sending of an append: how long it keeps the fence open."""
    wait_for: int
    """From the reading of a record: how long another host waits before it takes over."""
    renew: int
    """How often a host that has nothing to ship appends a BEAT."""
    lease_within: int
    """How long a host that yielded waits for its successor."""

    @classmethod
    def of(cls, lease: int, renew: int, lease_within: int) -> TermBounds:
        """The bounds for a `lease`, with 3 % on both sides for clocks that run at different rates."""
        return cls(lease * 97 // 100, lease * 103 // 100, renew, lease_within)


class Flight(msgspec.Struct, frozen=True):
    """The append under way."""

    entry: LogEntry
    data: bytes
    since: int
    """When it was sent first."""
    acknowledged: bool = False
    """Only a TERM whose predecessor has not been read yet stays in flight with that."""

    @property
    def expect(self) -> int:
        return self.entry.number - 1


class Term(msgspec.Struct):
    """One host's part in the term of one bot. `step` takes one event and returns the commands, in order."""

    me: str
    writer: str
    """The life of this replicator, in which it writes; another one has another."""
    log_id: str
    bounds: TermBounds
    claims: bool = True
    """This host may take over by itself."""
    role: TermRole = TermRole.STARTING
    read: RecordPosition = EMPTY
    """The last record that was read from the log."""
    known: RecordPosition = EMPTY
    """The last record whose bytes are known: read, or acknowledged."""
    asked: int | None = None
    """`known` when the read under way was requested; None when there is none."""
    term: int = 0
    holder: str = ""
    yielded_to: str = ""
    begun: int = 0
    """The number of this host's TERM."""
    heard_at: int = 0
    """When the last record was read."""
    sent_at: int = 0
    fence: int = 0
    """Until when the fence is open; 0 when it is shut."""
    earned: int = 0
    """Until when it may be open once this host's TERM was read back."""
    flight: Flight | None = None
    waiting: tuple[bytes, ...] = ()
    """Journal records to ship."""
    to: str = ""
    """The host in whose favour this one yields."""

    def step(self, event: TermEvent) -> list[TermCommand]:
        """Take one event; return the commands, in order. It never raises."""
        if self.role is TermRole.LOST:
            return self._ship_too_late(event.parts) if isinstance(event, Ship | YieldTerm) else []
        commands = _ACTIONS[type(event)](self, event)
        return commands + self._go_on(event.now)

    def wake_at(self) -> int:
        """When to send `TimePassed`, CLOCK_BOOTTIME ns."""
        match self.role:
            case TermRole.HOLDING:
                renew = self.sent_at + self.bounds.renew if self.flight is None else NEVER
                return min(renew, self.fence or NEVER)
            case TermRole.WAITING if self.flight is None and self.claims:
                return self._claim_at()
            case _:
                return NEVER

    # events

    def _started(self, event: ReplicatorStarted) -> list[TermCommand]:
        self.heard_at = event.now
        return self._request()

    def _log_read(self, event: LogRead) -> list[TermCommand]:
        commands: list[TermCommand] = []
        for entry in event.entries:
            if entry.number > self.read.number + 1:
                return commands + self._request()
            commands += self._read_entry(entry, event.now)
            if self.role is TermRole.LOST:
                return commands
        if event.end is None:
            return commands
        asked, self.asked = self.asked, None
        if event.end < (asked or 0):
            return commands + self._lost(f"the log ends at record {event.end}, and {asked} was acknowledged")
        if self.role is TermRole.STARTING:
            self.role = TermRole.WAITING
        flight = self.flight
        if flight is not None and not flight.acknowledged and event.end == self.read.number == flight.expect:
            # Its place is still free. The first sending may yet arrive, so nothing else may be sent.
            commands.append(AppendRecord(flight.expect, flight.data, flight.entry.digest))
        return commands

    def _landed(self, event: AppendLanded) -> list[TermCommand]:
        flight = self.flight
        if flight is None or (event.digest, event.number) != (flight.entry.digest, flight.entry.number):
            return []
        if self.read.number < flight.expect and flight.entry.record.kind is LogKind.TERM:
            self.flight = msgspec.structs.replace(flight, acknowledged=True)
            return self._request()
        return self._complete(flight, event.now)

    def _unknown(self, event: AppendUnknown) -> list[TermCommand]:
        flight = self.flight
        return self._request() if flight is not None and flight.entry.digest == event.digest else []

    def _ship(self, event: Ship) -> list[TermCommand]:
        if self.role is not TermRole.HOLDING:
            return self._ship_too_late(event.parts)
        self.waiting += event.parts
        return []

    def _yield(self, event: YieldTerm) -> list[TermCommand]:
        if self.role is not TermRole.HOLDING:
            return self._ship_too_late(event.parts)
        self.role = TermRole.YIELDING
        self.waiting += event.parts
        self.to = event.to
        return self._shut()

    def _yield_received(self, event: YieldReceived) -> list[TermCommand]:
        entry = event.entry
        if (
            self.role is TermRole.WAITING
            and self.flight is None
            and entry.number == self.read.number + 1
            and entry.record.kind is LogKind.YIELD
            and entry.record.to == self.me
            and self._is_valid(entry.record)
        ):
            return self._append(LogKind.TERM, entry.position, self.term + 1, event.now)
        return []

    def _time_passed(self, event: TimePassed) -> list[TermCommand]:
        return []

    # the log

    def _read_entry(self, entry: LogEntry, now: int) -> list[TermCommand]:
        if entry.number <= self.read.number:
            same = entry.number < self.read.number or entry.digest == self.read.digest
            return [] if same else self._lost(f"record {entry.number} is not the one that was read before")
        flight = self.flight
        acknowledged = entry.number <= self.known.number
        if acknowledged and (
            entry.record.prev != self.read.digest
            or (entry.number == self.known.number and entry.digest != self.known.digest)
        ):
            return self._lost(f"record {entry.number} is not the one that was acknowledged")
        valid = not acknowledged and self._is_valid(entry.record)
        self.read = entry.position
        self.heard_at = now
        if acknowledged:
            return self._earn(now)
        self.known = entry.position
        commands: list[TermCommand] = []
        if flight is not None and flight.entry.number == entry.number:
            if valid and flight.entry.digest == entry.digest:
                return self._complete(flight, now)
            commands += self._place_taken(flight)
        elif (
            flight is not None and flight.expect == entry.number and flight.entry.record.prev != entry.digest
        ):
            # The YIELD that came directly is not in the log: this claim would be void.
            commands += self._place_taken(flight)
        if valid:
            commands += self._apply(entry)
        return commands

    def _is_valid(self, record: LogRecord) -> bool:
        if record.prev != self.read.digest or record.log_id != self.log_id:
            return False
        if record.kind is LogKind.TERM:
            return record.term == self.term + 1
        return record.term == self.term and record.host == self.holder and not self.yielded_to

    def _apply(self, entry: LogEntry) -> list[TermCommand]:
        """Apply a valid record that this process did not write."""
        record = entry.record
        commands: list[TermCommand] = []
        if record.kind is LogKind.TERM:
            if self.role in (TermRole.HOLDING, TermRole.YIELDING):
                commands += self._deposed(record)
            self.term, self.holder, self.yielded_to = record.term, record.host, ""
        elif record.kind is LogKind.YIELD:
            self.yielded_to = record.to
        return [*commands, DeliverEntry(entry)]

    def _deposed(self, by: LogRecord) -> list[TermCommand]:
        self.role = TermRole.WAITING
        kept, self.waiting, self.to = self.waiting, (), ""
        aside: list[TermCommand] = [KeepAside(kept)] if kept else []
        return [*self._shut(), EndTerm(by.term, by.host), *aside]

    def _place_taken(self, flight: Flight) -> list[TermCommand]:
        """The append under way did not come into the log, and will not."""
        self.flight = None
        if self.role is TermRole.CLAIMING:
            self.role = TermRole.WAITING
        self.waiting = flight.entry.record.parts + self.waiting
        return []

    def _complete(self, flight: Flight, now: int) -> list[TermCommand]:
        """The append under way is in the log."""
        self.flight = None
        self.known = max(self.known, flight.entry.position, key=lambda position: position.number)
        record = flight.entry.record
        confirmed: list[TermCommand] = [ConfirmParts(len(record.parts))] if record.parts else []
        if record.kind is LogKind.YIELD:
            self.role = TermRole.WAITING
            self.yielded_to, self.to = record.to, ""
            self.heard_at = now
            return confirmed
        self.earned = flight.since + self.bounds.open_for
        if record.kind is not LogKind.TERM:
            return confirmed + self._earn(now)
        self.role = TermRole.HOLDING
        self.term, self.holder, self.yielded_to = record.term, self.me, ""
        self.begun = flight.entry.number
        return [BeginTerm(record.term), *self._open(now)]

    def _earn(self, now: int) -> list[TermCommand]:
        """Extend the fence, if this host's TERM was read back."""
        if self.read.number < self.begun:
            return self._request()
        return self._open(now)

    def _open(self, now: int) -> list[TermCommand]:
        if self.role is not TermRole.HOLDING or self.earned <= max(now, self.fence):
            return []
        self.fence = self.earned
        return [OpenFence(self.fence)]

    def _shut(self) -> list[TermCommand]:
        self.fence = self.earned = 0
        return [ShutFence()]

    def _lost(self, reason: str) -> list[TermCommand]:
        self.role = TermRole.LOST
        kept = (self.flight.entry.record.parts if self.flight else ()) + self.waiting
        self.flight, self.waiting = None, ()
        aside: list[TermCommand] = [KeepAside(kept)] if kept else []
        return [*self._shut(), ReportLost(reason, self.known), *aside]

    def _ship_too_late(self, parts: tuple[bytes, ...]) -> list[TermCommand]:
        return [KeepAside(parts)] if parts else []

    # what is next

    def _go_on(self, now: int) -> list[TermCommand]:
        commands: list[TermCommand] = []
        if self.fence and self.fence <= now:
            self.fence = 0
            commands.append(ShutFence())
        if self.flight is not None:
            return commands
        match self.role:
            case TermRole.YIELDING:
                commands += self._append(LogKind.YIELD, self.known, self.term, now)
            case TermRole.HOLDING if self.waiting:
                commands += self._append(LogKind.BATCH, self.known, self.term, now)
            case TermRole.HOLDING if now >= self.sent_at + self.bounds.renew:
                commands += self._append(LogKind.BEAT, self.known, self.term, now)
            case TermRole.WAITING if self.claims and self.asked is None and now >= self._claim_at():
                commands += self._append(LogKind.TERM, self.known, self.term + 1, now)
            case _:
                pass
        return commands

    def _claim_at(self) -> int:
        """From when on this host may append a TERM."""
        if not self.holder or self.yielded_to == self.me:
            return 0
        if self.holder == self.me:
            return self.heard_at + self.bounds.lease_within if self.yielded_to else 0
        return self.heard_at + self.bounds.wait_for

    def _append(self, kind: LogKind, after: RecordPosition, term: int, now: int) -> list[TermCommand]:
        parts = self._next_parts() if kind in (LogKind.BATCH, LogKind.YIELD) else ()
        if kind is LogKind.YIELD and self.waiting:
            # More waits than one record holds: the YIELD comes last.
            kind = LogKind.BATCH
        to = self.to if kind is LogKind.YIELD else ""
        record = LogRecord(1, self.log_id, term, self.me, self.writer, after.digest, kind, parts, to)
        data = log_codec.encode(record)
        entry = entry_of(after.number + 1, data)
        self.flight = Flight(entry, data, now)
        self.sent_at = now
        commands: list[TermCommand] = [AppendRecord(after.number, data, entry.digest)]
        if kind is LogKind.TERM:
            self.role = TermRole.CLAIMING
        elif kind is LogKind.YIELD:
            commands.append(SendYield(to, entry.number, data))
        return commands

    def _next_parts(self) -> tuple[bytes, ...]:
        """Take from `waiting` what one record holds."""
        room, count = _ROOM_FOR_PARTS, 0
        for part in self.waiting:
            room -= len(part) + 8
            if room < 0 and count:
                break
            count += 1
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken

    def _request(self) -> list[TermCommand]:
        if self.asked is not None:
            return []
        self.asked = self.known.number
        return [ReadLog(self.read.number)]


_ACTIONS: dict[type[TermEvent], Callable[..., list[TermCommand]]] = {
    ReplicatorStarted: Term._started,  # pyright: ignore[reportPrivateUsage]
    LogRead: Term._log_read,  # pyright: ignore[reportPrivateUsage]
    AppendLanded: Term._landed,  # pyright: ignore[reportPrivateUsage]
    AppendUnknown: Term._unknown,  # pyright: ignore[reportPrivateUsage]
    Ship: Term._ship,  # pyright: ignore[reportPrivateUsage]
    YieldTerm: Term._yield,  # pyright: ignore[reportPrivateUsage]
    YieldReceived: Term._yield_received,  # pyright: ignore[reportPrivateUsage]
    TimePassed: Term._time_passed,  # pyright: ignore[reportPrivateUsage]
}
