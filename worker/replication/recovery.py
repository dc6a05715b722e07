"""Taking over: what a worker does between holding the lease and being able to lead.

A leader has every frame that exists. In a handoff that is so already, and one look at the journal's length confirms it;
after a death the rest is read from the journal, and what the dead leader left half written is cut off.

A worker without a state goes on from the newest segment whose snapshot is whole, and from there as far as records are
whole and continue each other. Where that is not the journal's end, what lies behind it stays as it is, for inspection,
and the journal goes on in a new segment. The chain of digests decides what continues what, so damage can make the state
older, never wrong.
"""

from __future__ import annotations

import msgspec

from ...protocol.journal import (
    NOWHERE,
    JournalError,
    JournalTooNew,
    Position,
    RecordKind,
    encode_payload,
)
from ...protocol.link import Recovered
from ...protocol.wire import WireError
from ..journal.interfaces import Journal
from ..model.replica import ChainBroken, Replica
from .replay import SegmentReplay, restore
from .snapshot_copy import copy_rows

__all__ = ["RecoveredJournal", "begin", "catch_up", "from_journal", "resume"]


class RecoveredJournal(msgspec.Struct):
    """What the journal had for a new leader.

    `problem` says why it cannot go on where it ends, "" when it can; then the replica is `NOWHERE` in it, and the
    journal needs a new segment.
    """

    written: int
    """The last frame that is in the journal."""
    problem: str = ""
    segment: int = 0
    """Where the whole records end."""
    left: int = 0
    """How many bytes there were after them."""
    damaged: tuple[str, ...] = ()
    """What is damaged in what was read, whether it kept anything from being taken or not."""
    reloaded: bool = False
    """The state is another object than before."""
    resumed: bool = False
    """It was taken from the journal alone."""
    lost: int = 0
    """How many frames are known to be missing."""
    lossy: bool = False
    """Frames may be missing: the bot comes back paused, since it may have been paused in them."""

    @property
    def worth_telling(self) -> bool:
        """Whether the journal was more than a look at its length."""
        return bool(self.resumed or self.left or self.problem or self.damaged)

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
        )


def from_journal(replica: Replica, journal: Journal, known: int = -1) -> RecoveredJournal:
    """Give a worker that comes with nothing the bot's state: the journal's, or the first there is.

    `known` is a frame that a leader is known to have made, -1 for none. A bot whose journal lacks frames is paused: a
        missing frame may have paused it, and what else it did is unknown. Raises what `begin` and `resume` raise.
    """
    if not journal.stored():
        replica.paused = known >= 0
        found = begin(replica, journal)
        found.lost = known + 1
        found.lossy = found.resumed = known >= 0
        return found
    found = resume(replica, journal)
    found.lost = max(0, max(found.written, known) - replica.number)
    found.lossy = found.lost > 0 or bool(found.damaged and found.left)
    replica.paused = replica.paused or found.lossy
    if found.problem or found.lossy:
        # That it is paused stands in the segment's snapshot.
        try:
            _open_anew(replica, journal)
        except JournalError as problem:
            found.problem = problem.message
        else:
            found.problem = ""
    return found


def begin(replica: Replica, journal: Journal) -> RecoveredJournal:
    """Give the bot its first state, and open the journal with it. Raises `StateError` and `JournalError`."""
    replica.state = replica.cells.fresh()
    _open_anew(replica, journal)
    return RecoveredJournal(replica.number, segment=replica.position.segment, reloaded=True)


def _open_anew(replica: Replica, journal: Journal) -> None:
    """Go on in a new segment that opens with the state as it is. Takes its time. Raises `JournalError`."""
    new = journal.begin()
    counts: dict[str, int] = {}
    try:
        new.append(RecordKind.SNAPSHOT, encode_payload(replica.snapshot()))
        for rows in copy_rows(replica):
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
    """Go on from where the journal ends: the bot as its last leader left it.

    Raises `JournalError` when there is nothing to go on from or a later release wrote it, and `StateUnreadable` or
    `MigrationError` when this code cannot read the state.
    """
    numbers = [one.number for one in journal.stored()]
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
        return _found(replica, journal, reading, tuple(damaged), reloaded=True)
    raise JournalError(
        f"segment {numbers[-1]}" if numbers else "of this home",
        f"it does not open with a whole snapshot, and no segment before it does, so there is nothing to go on from "
        f"({why}): restore it, or begin anew with `neverblink up --fresh`",
    )


def catch_up(replica: Replica, journal: Journal) -> RecoveredJournal:
    """Apply what the journal has beyond `replica`.

    A journal that cannot be read does not keep this worker from leading with what it has followed. Frames that this
    code cannot read freeze the replica: their effects are lost to it, the chain is not.

    Raises `JournalTooNew`, and what `resume` raises where the state has to be taken from the journal.
    """
    try:
        if journal.attach(replica.position):
            return RecoveredJournal(replica.number, segment=replica.position.segment)
    except JournalError:
        # The segment may be gone, or another be in its place: what is there now is looked at below.
        pass
    try:
        numbers = [one.number for one in journal.stored()]
        reading = SegmentReplay(replica, journal)
        position = replica.position
        if position.segment in numbers and reading.fits(position):
            reading.read([number for number in numbers if number >= position.segment], position.offset)
        if not reading.segment or reading.damaged:
            # Where it has what is missing here, is found by looking at all of it.
            reading = SegmentReplay(replica, journal)
            reading.read(numbers, 0)
    except ChainBroken:
        # Others went on from something else than what we have, and wrote it down: that is the bot now.
        return resume(replica, journal)
    except JournalTooNew:
        raise
    except JournalError as problem:
        replica.position = NOWHERE
        return RecoveredJournal(-1, problem.message)
    return _found(replica, journal, reading)


def _found(
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
            f"it ends with frame {reading.last}, and this worker has followed to frame {replica.number}"
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
