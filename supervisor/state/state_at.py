"""Finds the state at a point of the journal, from the files alone: no code of the bot's runs.

A segment opens with a snapshot that is written while the bot goes on, so it gives the state only from the mark at its
end on. The search begins at the newest segment whose snapshot is not after the point, and goes a segment back as long
as the state there is known only later than the point.

The state is not known where frames are missing, where a record is damaged, and between a change of the state's type and
the next snapshot, which the leader writes at once. A point in such a stretch is refused with the nearest ones around.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...protocol.errors import NeverblinkError
from ...protocol.frame import Armed, Frame, Led, Schema
from ...protocol.journal import Entry, Opened, Rows, Snapshot, Unwritten
from ...protocol.state.values import StateValues, decode_types
from ..audit.reader import Damage, Found, read_journal, segments
from ..audit.scope import Moment, Seq
from ..audit.walk import JournalWalk
from ..system.format import clock
from .leads import leads_in, opening_of
from .point import InDecision, Now, Number, Point, ReleasePoint

__all__ = ["StateAt", "StateNotKnown", "state_at"]


class StateNotKnown(NeverblinkError):
    """The journal does not have the state at a point."""


class StateAt:
    """The state as of frame `number`. Times are wall ns; `seq` is -1 before the first tick."""

    def __init__(self, head: Snapshot) -> None:
        self.values = StateValues(head.schema, decode_types(head.types), head.cells, list(head.tables))
        self.number = head.number
        self.seq = head.seq
        self.ticked = False
        """The frame of tick `seq` was seen, and no frame after it."""
        self.at = 0
        """When that frame ended, 0 when it is not known; then `due` is, when its last tick was due."""
        self.due = head.vitals.due
        self.epoch = head.epoch
        self.worker = head.led_by
        self.release = head.release
        self.timers: dict[str, Armed] = dict(head.vitals.timers)
        self.paused = head.vitals.paused

    @property
    def schema(self) -> Schema:
        return self.values.schema

    @property
    def title(self) -> str:
        """The point as people read it."""
        tick = f"tick {self.seq}" if self.seq >= 0 else "before the first tick"
        at = self.at or self.due
        return f"{tick} ({clock(at)})" if at else tick

    def apply(self, frame: Frame) -> None:
        """Go on by a frame."""
        self.values.apply(frame.changes)
        self.number, self.epoch = frame.number, frame.epoch
        self.at = frame.timing.ended
        self.ticked = frame.kind == "tick"
        if self.ticked:
            self.seq, self.due = frame.seq, frame.timing.due
        if isinstance(frame.about, Led):
            self.worker, self.release = frame.about.worker, frame.about.release
        for name, armed in frame.timers.items():
            if armed is None:
                self.timers.pop(name, None)
            else:
                self.timers[name] = armed
        if frame.paused is not None:
            self.paused = frame.paused


def state_at(journal: Path, point: Point) -> StateAt:
    """The state at `point` of the journal in the directory `journal`. Raises `StateNotKnown` and `JournalError`."""
    numbers = [number for number, _ in segments(journal)]
    if not numbers:
        raise StateNotKnown("there is no journal here yet: it begins with `neverblink up`")
    if isinstance(point, ReleasePoint):
        point = _end_of(journal, point)
    earliest: StateAt | None = None
    for at in reversed(range(len(numbers))):
        if at and _opens_after(journal, numbers[at], point):
            continue
        walk = _StateWalk(point, oldest=at == 0)
        walk.search(read_journal(journal, after=numbers[at] - 1))
        if walk.found is not None:
            return walk.found
        if walk.missed:
            raise StateNotKnown(walk.missed)
        earliest = walk.earliest or earliest
    if earliest is None:
        raise StateNotKnown("the journal has no state that can be read: see `neverblink journal verify`")
    raise StateNotKnown(f"the journal begins with {earliest.title}: what was before is no longer kept")


def _end_of(journal: Path, led: ReleasePoint) -> Point:
    """The last frame of the release's last lead."""
    if led.leads:
        return Now()
    end: int | None = None
    for _, path in reversed(segments(journal)):
        for number, release in reversed(leads_in(path)):
            if release == led.release:
                return Now() if end is None else Number(end)
            end = number - 1
    raise StateNotKnown(f"release {led.release} has not led in the time that the journal has")


def _opens_after(journal: Path, segment: int, point: Point) -> bool:
    """Whether what the segment opens with is of after the point."""
    head = opening_of(journal, segment)
    match point:
        case _ if head is None:
            return False
        case Seq(seq) | InDecision(seq=seq):
            return head.seq > seq
        case Moment(moment):
            return head.vitals.due > moment
        case Number(number):
            return head.number > number
        case _:
            return False


class _StateWalk(JournalWalk):
    """Goes from one segment on to the point. `oldest`: there is none before that segment."""

    def __init__(self, point: Point, *, oldest: bool) -> None:
        super().__init__()
        self.found: StateAt | None = None
        self.missed = ""
        """Why the state at the point is not known, and looking at earlier segments does not help."""
        self.earliest: StateAt | None = None
        """The first state that is known here, which is of after the point."""
        self._point = point
        self._oldest = oldest
        self._state: StateAt | None = None
        self._building: StateAt | None = None
        """What a snapshot has so far."""
        self._held: list[Frame] = []
        """The frames among its rows."""
        self._before: StateAt | None = None
        """The last state before a stretch in which it is not known,"""
        self._why = ""
        """and why it is not known there."""

    def search(self, found: Iterable[Found]) -> None:
        """Walk; then `found`, `missed` or `earliest` says how it ended, or none of them: nothing was readable."""
        self.take_all(found)
        if self.found is not None or self.missed or self.earliest is not None:
            return
        if self._building is not None and not self._marked:
            self._built()
        state, point = self._state, self._point
        if state is None:
            if self._before is not None:
                self.missed = f"{self._why}: the last state before that is {self._before.title}"
        elif isinstance(point, Now | Moment):
            self.found = state
        elif isinstance(point, InDecision):
            self.missed = f"there is no decision {point.id} in the journal"
        elif self.found is None:
            self.missed = f"{_named(point)} has not run yet: the last one is {_last(point, state)}"

    # what is known

    def _on_damage(self, found: Damage) -> None:
        self._lose(f"segment {found.segment} is damaged at byte {found.offset} ({found.problem})")

    def _on_unreadable(self, entry: Entry, problem: str) -> None:
        self._lose(f"segment {self._segment} has a record that cannot be read ({problem})")

    def _on_break(self, text: str, *, severed: bool = True) -> None:
        if severed:
            self._lose(text)
        else:
            self._building = None

    def _on_unwritten(self, first: int, last: int, unwritten: Unwritten) -> None:
        self._lose(f"frames {first} to {last} could not be written ({unwritten.why})")

    def _on_snapshot(self, head: Snapshot, entry: Entry, *, resumes: bool) -> None:
        if self._state is not None and resumes and head.number != self._state.number:
            self._lose(f"segment {self._segment} does not continue the one before it")
        if self._state is None:
            self._building, self._held = StateAt(head), []

    def _on_rows(self, rows: Rows, entry: Entry) -> None:
        if self._building is not None:
            self._building.values.add_rows(rows.table, rows.rows)

    def _on_whole(self) -> None:
        self._built()

    def _on_repeated(self, frame: Frame) -> None:
        self._next(frame)

    def _on_frame(self, frame: Frame, entry: Entry) -> None:
        self._next(frame)

    def _on_opened(self, opened: Opened, entry: Entry) -> None:
        if not isinstance(self._point, InDecision) or opened.id != self._point.id:
            return
        if self._state is not None:
            self.found = self._state
        elif self._before is not None or self._oldest:
            why = self._why or "the journal begins there"
            self.missed = f"decision {opened.id} was taken where the state is not known: {why}"
        else:
            self.earliest = self._building
        self._over = True

    # the search

    def _next(self, frame: Frame) -> None:
        if self._building is not None:
            if self._marked:
                self._held.append(frame)
                return
            self._built()
        state = self._state
        if self._over or state is None or frame.number <= state.number:
            return
        if self._is_past(frame):
            if isinstance(self._point, Seq) and state.seq < 0:
                self.missed = (
                    f"tick {self._point.value} is before the bot's first one: that was tick {frame.seq} "
                    f"({clock(frame.timing.ended)})"
                )
            elif state.number < 0 and self._oldest:
                self.missed = f"the bot began at {clock(frame.timing.ended)}: there is no state before that"
            elif not isinstance(self._point, Moment) or state.at:
                self.found = state
            elif not self._oldest:
                # When the state that the segment opens with was reached, only the segment before says.
                self.earliest = state
            else:
                self.found = state
            self._over = True
        elif frame.schema != state.schema:
            self._lose(
                f"the state has another type from frame {frame.number} on, and is known only a moment later"
            )
        else:
            state.apply(frame)
            if self._is_reached(state):
                self.found, self._over = state, True

    def _built(self) -> None:
        """A snapshot is complete: from here on the state is known."""
        state, self._building = self._building, None
        if state is None:
            return
        for frame in self._held:
            if frame.schema != state.schema:
                return
            state.apply(frame)
        self._held = []
        self._state = state
        if self._is_reached(state):
            self.found, self._over = state, True
        elif self._is_late(state):
            self._over = True
            if self._before is not None:
                self.missed = f"{self._why}: the nearest states are {self._before.title} and {state.title}"
            elif self._oldest and isinstance(self._point, Seq) and state.seq == self._point.value:
                # Events may have come after the tick, and nothing says what the state was before them.
                self.found = state
            else:
                self.earliest = state

    def _lose(self, why: str) -> None:
        self._building = None
        if self._state is not None:
            self._before, self._state, self._why = self._state, None, why
        elif not self._why:
            self._why = why

    def _is_past(self, frame: Frame) -> bool:
        match self._point:
            case Seq(seq):
                return frame.kind == "tick" and frame.seq > seq
            case Moment(moment):
                return frame.timing.ended > moment
            case Number(number):
                return frame.number > number
            case _:
                return False

    def _is_reached(self, state: StateAt) -> bool:
        match self._point:
            case Seq(seq):
                return state.ticked and state.seq == seq
            case Number(number):
                return state.number == number
            case _:
                return False

    def _is_late(self, state: StateAt) -> bool:
        match self._point:
            case Seq(seq):
                return state.seq >= seq
            case Moment(moment):
                return (state.at or state.due) > moment
            case Number(number):
                return state.number > number
            case _:
                return False


def _named(point: Point) -> str:
    return f"tick {point.value}" if isinstance(point, Seq) else f"frame {getattr(point, 'value', '')}"


def _last(point: Point, state: StateAt) -> str:
    return f"frame {state.number}" if isinstance(point, Number) else state.title
