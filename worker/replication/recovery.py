"""Recovery: what a worker does with the journal between taking the lease and leading.

A leader needs every frame that exists. In a handoff it has them already, which the journal's length confirms. After a
crash it reads the rest from the journal, and cuts off a record that the dead leader wrote only in part.

A worker without a state begins with the newest segment whose snapshot is complete, and applies records as long as they
are whole and continue each other. If that is not the end of the journal, the rest is kept for inspection, and the
journal continues in a new segment. The chain of digests decides which record continues which, so damage can make the
state older, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.journal import (
    NOWHERE,
    JournalError,
    JournalTooNew,
    Position,
    RecordKind,
    encode_payload,
)
from ...protocol.link import Recovered
from ...protocol.state_changes import StateChanges
from ...protocol.wire import WireError
from ..journal.interfaces import Journal
from ..model.cells import StateUnreadable
from ..model.migration import MigrationError
from ..model.replica import ChainBroken, Replica
from .replay import SegmentReplay, restore

__all__ = [
    "RecoveredJournal",
    "WouldLose",
    "begin",
    "begin_segment",
    "catch_up",
    "found_in",
    "from_journal",
    "resume",
]


class WouldLose(NeverblinkError):
    """This code would lose values of the state that another release wrote."""


class RecoveredJournal(msgspec.Struct):
    """What a new leader found in the journal.

    `problem` says why the journal cannot be continued at its end, "" if it can. With a problem the replica's position
    is `NOWHERE`, and the journal needs a new segment.
    """

    written: int
    """The last frame in the journal."""
    problem: str = ""
    segment: int = 0
    """The segment in which the whole records end."""
    left: int = 0
    """How many bytes follow them."""
    damaged: tuple[str, ...] = ()
    """All damage found, even if nothing was lost by it."""
    reloaded: bool = False
    """Whether the state is a new object."""
    resumed: bool = False
    """Whether the state was taken from the journal alone."""
    lost: int = 0
    """How many frames are known to be missing."""
    partly_read: bool = False
    """This code cannot read all that the journal has."""
    left_out: str = ""
    """What of the journal is not in the state, because this code cannot read it; "" when all of it is."""
    lossy: bool = False
    """Whether frames may be missing. The bot is paused then, because a missing frame may have paused it."""
    changes: StateChanges | None = None
    """How the state differs in this code, if another release wrote it."""
    dropped: str = ""
    """Why this code should not lead with it: values are lost, and no operator said so. The bot is paused then."""

    @property
    def worth_reporting(self) -> bool:
        """Whether there was more to do than to check the journal's length."""
        return bool(self.resumed or self.dropped or self.left or self.problem or self.damaged)

    def report(self, replica: Replica) -> Recovered:
        """The report to the supervisor. `replica` is the state that was recovered."""
        last = replica.last
        return Recovered(
            number=replica.number,
            seq=-1 if replica.seq is None else replica.seq,
            at=last.timing.ended if last is not None else 0,
            segment=self.segment,
            left=self.left,
            problem="; ".join(dict.fromkeys((*self.damaged, *filter(None, [self.problem])))),
            lost=self.lost,
            lossy=self.lossy,
            left_out=self.left_out,
            changes=self.changes,
            dropped=self.dropped,
        )


def from_journal(
    replica: Replica,
    journal: Journal,
    known: int = -1,
    otherwise: Callable[[Replica, Journal, str], RecoveredJournal | None] | None = None,
    *,
    go_back: bool = False,
    recovers: bool = False,
) -> RecoveredJournal:
    """Give a worker without a state the bot's state: that of the journal, or a new bot's first state.

    `known` is a frame that a leader is known to have made, -1 for none. A bot whose journal lacks frames is paused,
    because a missing frame may have paused it. So is one that loses values because this is other code than the code
    that wrote the journal, if it `recovers` after a crash. Otherwise such values are a `WouldLose`.

    When this code cannot read all that the journal has, `otherwise` restores the newest state that it can read: the
    bot's newest, if what could not be read was overwritten. An older one is used only with `go_back`. Raises as `begin`
    and `resume`, too.
    """
    if not journal.stored():
        replica.paused = known >= 0
        found = begin(replica, journal)
        found.lost = known + 1
        found.lossy = found.resumed = known >= 0
        return found
    try:
        found = resume(replica, journal)
    except (StateUnreadable, MigrationError) as problem:
        older = otherwise(replica, journal, problem.message) if otherwise is not None else None
        if older is None or (older.left_out and not go_back):
            raise _with_way_out(problem, tried=go_back) from None
        # It is frozen, and the frame that says the whole state again says that it is paused.
        found, replica.paused = older, replica.paused or bool(older.left_out)
    refusal = replica.refusal()
    if refusal and not recovers:
        raise WouldLose(refusal)
    found.changes, found.dropped = replica.changes(), refusal
    found.lost = max(0, max(found.written, known) - replica.number)
    found.lossy = found.lost > 0 or bool(found.damaged and found.left)
    replica.paused = replica.paused or found.lossy or bool(refusal)
    if found.problem or found.lossy or found.partly_read or refusal:
        # The new segment's snapshot records the pause, and the next start need not read what this one could not.
        try:
            begin_segment(replica, journal)
        except JournalError as problem:
            found.problem = problem.message
        else:
            found.problem = ""
    return found


def _with_way_out(problem: StateUnreadable | MigrationError, *, tried: bool) -> NeverblinkError:
    """The same problem, with what an operator can do when no code at hand reads the state."""
    if tried:
        return NeverblinkError(f"{problem.message}; the journal has no older state that this code can read")
    if isinstance(problem, StateUnreadable) and problem.written_by_bug:
        return NeverblinkError(
            f"{problem.message}. Or go on without what came after the newest state that can be read, paused: "
            "`neverblink down`, then `neverblink up --last-readable`"
        )
    return problem


def begin(replica: Replica, journal: Journal) -> RecoveredJournal:
    """Give the bot its first state, and begin the journal with it. Raises `StateError` and `JournalError`."""
    replica.state = replica.cells.fresh()
    begin_segment(replica, journal)
    return RecoveredJournal(replica.number, segment=replica.position.segment, reloaded=True)


def begin_segment(replica: Replica, journal: Journal) -> None:
    """Continue in a new segment that begins with the present state. Blocks. Raises `JournalError`."""
    new = journal.begin()
    counts: dict[str, int] = {}
    try:
        new.append(RecordKind.SNAPSHOT, encode_payload(replica.snapshot()))
        for rows in replica.copy_rows():
            new.append(RecordKind.ROWS, encode_payload(rows))
            counts[rows.table] = counts.get(rows.table, 0) + len(rows.rows)
        new.append(RecordKind.WHOLE, encode_payload(replica.whole(counts)))
        while not new.publish():
            new.settle()
    except JournalError:
        new.discard()
        raise
    replica.position = journal.position


def resume(replica: Replica, journal: Journal) -> RecoveredJournal:
    """Restore the state at the end of the journal, as its last leader left it.

    Raises `JournalError` when no segment has a complete snapshot or a later release wrote the journal, and
    `StateUnreadable` or `MigrationError` when this code cannot read the state.
    """
    numbers = [segment.number for segment in journal.stored()]
    why = "there is no segment"
    damaged: list[str] = []
    for at in reversed(range(len(numbers))):
        number = numbers[at]
        try:
            offset = restore(replica, journal, number, strict=True)
        except JournalTooNew:
            raise
        except (JournalError, WireError) as problem:
            why = problem.problem
            damaged.append(f"segment {number}: {why}")
            continue
        reading = SegmentReplay(replica, journal, strict=True)
        reading.read(numbers[at:], offset)
        return found_in(replica, journal, reading, tuple(damaged), reloaded=True)
    raise JournalError(
        f"segment {numbers[-1]}" if numbers else "of this home",
        f"neither this segment nor one before it begins with a complete snapshot ({why}): "
        "restore it from a backup, or begin with a new state by `neverblink up --fresh`",
    )


def catch_up(replica: Replica, journal: Journal) -> RecoveredJournal:
    """Apply the records that follow `replica` in the journal.

    If the journal cannot be read, this worker still leads with the state it has. Frames that this code cannot read
    freeze the replica: it loses their changes and keeps the chain.

    Raises `JournalTooNew` and, if the state must be taken from the journal, as `resume`.
    """
    try:
        if journal.attach(replica.position):
            return RecoveredJournal(replica.number, segment=replica.position.segment)
    except JournalError:
        # The segment may have been removed or replaced: the journal is read below.
        pass
    try:
        numbers = [segment.number for segment in journal.stored()]
        reading = SegmentReplay(replica, journal)
        position = replica.position
        if position.segment in numbers and reading.fits(position):
            reading.read([number for number in numbers if number >= position.segment], position.offset)
        if not reading.segment or reading.damaged:
            # Read all of it to find where it has the missing frames.
            reading = SegmentReplay(replica, journal)
            reading.read(numbers, 0)
    except ChainBroken:
        # Another leader has continued from another state: the journal's state is the bot's.
        return resume(replica, journal)
    except JournalTooNew:
        raise
    except JournalError as problem:
        replica.position = NOWHERE
        return RecoveredJournal(-1, problem.message)
    return found_in(replica, journal, reading)


def found_in(
    replica: Replica,
    journal: Journal,
    reading: SegmentReplay,
    damaged: tuple[str, ...] = (),
    *,
    reloaded: bool = False,
) -> RecoveredJournal:
    found = RecoveredJournal(
        reading.written,
        reading.problem,
        reading.segment,
        reading.left,
        (*damaged, *reading.damaged),
        reloaded or reading.reloaded,
        reloaded,
    )
    if not found.problem and reading.last < replica.number:
        found.problem = (
            f"it ends with frame {reading.last}, but this worker has followed to frame {replica.number}"
        )
    if not found.problem and damaged:
        found.problem = damaged[0]
    replica.position = NOWHERE
    if not found.problem:
        end = Position(reading.segment, reading.end, reading.opening)
        try:
            journal.settle(end)
        except JournalError as problem:
            found.problem = problem.message
        else:
            replica.position = end
    return found
