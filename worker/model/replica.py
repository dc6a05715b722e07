"""The replica: everything that makes up the bot as of a frame.

A leader and a follower hold the same data and change it by the same frames; they differ only in which of them makes the
frames. Besides the bot's own state the replica has the timers, the pause, the settings, the keys of applied events, the
open decisions, and the position in the stream: frame number, chain digest, last tick, epoch, journal position.

A follower on other code reads through a translator (its migrations). A follower that is kept for a rollback and cannot
read what the new code writes is *frozen*: it keeps the state of the handoff and follows only the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...protocol.frame import COMMAND, GENESIS, Changes, Frame, Led, Schema, Vitals, digest_of
from ...protocol.journal import Closed, Opened, Position, Rows, Snapshot, Unwritten, Whole
from ...protocol.state_changes import StateChanges, refusal
from .cells import Cells, StateUnreadable
from .dict_walk import DictWalk
from .inbox import Inbox
from .lost_time import LostTimes
from .migration import MigrationError, Migrations, Translator
from .release_comparison import ReleaseComparison
from .settings import SettingsCell
from .timers import TimerTable
from .verifier import Verifier

__all__ = ["ChainBroken", "Replica"]

CHUNK_ROWS = 256
CHUNK_BYTES = 128 * 1024
_FIRST_ROWS = 16


class ChainBroken(Exception):
    """The frame does not continue this replica; a new copy is needed."""


class Replica:
    """See the module. `seq` is None before the first tick, `number` is -1 before the first frame."""

    def __init__(
        self,
        cells: Cells,
        schema: Schema,
        migrations: Migrations,
        inbox: Inbox,
        settings: SettingsCell | None = None,
    ) -> None:
        self.cells = cells
        self.schema = schema
        self.migrations = migrations
        self.inbox = inbox
        self.verifier = Verifier(cells)
        self.timers = TimerTable()
        self.settings = settings or SettingsCell()
        self.state: Any = None
        self.paused = False
        self.epoch = 0
        self.number = -1
        self.seq: int | None = None
        self.due = 0
        """When that tick was due, wall ns."""
        self.ahead = 0
        """By how many indices the grid is ahead of the wall clock; see `grid.rebase`."""
        self.digest = GENESIS
        self.position = Position(0, 0)
        self.open: dict[str, Opened] = {}
        """Open decisions, and commands that have begun to run (by their key in the inbox)."""
        self._unsettled: dict[str, Opened] = {}
        """Decisions closed in a turn that has no frame yet: no recorded state has their outcome."""
        self.frozen = ""
        self.lag = 0
        """The longest time from a frame's boundary to its being applied here, since the last report; ns."""
        self.changed: set[str] | None = None
        """The fields of the state that frames have changed since `changed` was cleared; None when it is not needed."""
        self.lost = LostTimes()
        """The times since the last tick in which no tick could run."""
        self.led_by = ""
        """The worker that led last, according to the frames seen; "" after the bot was stopped in order."""
        self.release = ""
        """The release that led last, according to the frames seen."""
        self.last: Frame | None = None
        """The last frame applied or made."""
        self.leader_schema = schema
        """The schema of the incoming frames."""
        self.may_drop: tuple[str, ...] | None = None
        """The fields whose values may be lost in reading another release's state; None: any."""
        self._translator: Translator | None = None
        self.comparison: ReleaseComparison | None = None
        """What this code loses of a state in another schema; None while the stream is in this one."""

    # the leader's side

    def lead(self) -> None:
        """Begin to lead: from now on this process makes the frames, in its own schema."""
        self.leader_schema = self.schema
        self.frozen = ""
        self.comparison = None

    def advance(self, frame: Frame, body: bytes, position: Position, title: str = "") -> None:
        """Advance by a frame whose changes are in the state already, because this process made or applied it.

        `title` names its turn, where that is known and the turn took long.
        """
        lost = self.lost
        if frame.timing.took >= lost.interval or (lost.times if frame.kind == "tick" else frame.about):
            lost.note(frame, self.last, title)
        self.number = frame.number
        self.digest = digest_of(body)
        self.position = position
        self.last = frame
        if frame.epoch > self.epoch:
            self.epoch = frame.epoch
        for key in frame.traffic.applied:
            if key.startswith(COMMAND):
                self.open.pop(key, None)
        if frame.kind == "tick":
            self.seq = frame.seq
            self.due = frame.timing.due
            self.ahead = frame.timing.ahead
        elif frame.kind == "stop":
            self.led_by = ""
        elif isinstance(frame.about, Led):
            self.led_by = frame.about.worker
            self.release = frame.about.release
            # The new leader got them as in doubt, once.
            for id in frame.about.in_doubt:
                self.open.pop(id, None)
                self._unsettled.pop(id, None)
        if self._unsettled:
            # This frame has the outcome of its own leader's decisions, not of those of the leader before.
            self._unsettled = {
                id: decision for id, decision in self._unsettled.items() if decision.epoch < frame.epoch
            }

    def snapshot(self, unwritten: Unwritten | None = None) -> Snapshot:
        """Return everything but the rows of the tables."""
        return Snapshot(
            epoch=self.epoch,
            number=self.number,
            seq=-1 if self.seq is None else self.seq,
            digest=self.digest,
            schema=self.schema,
            cells=self.cells.root(self.state),
            tables=self.cells.sizes(self.state),
            vitals=Vitals(
                self.timers.all(),
                self.paused,
                self.inbox.memory(),
                self.due,
                tuple(self.inbox.pending()),
                self.settings.packed,
                self.ahead,
                self.lost.times,
                self.inbox.aside(),
                self.inbox.numbers(),
                self.inbox.feeds.positions(),
            ),
            # With those whose outcome has no frame yet: the next leader gets them as in doubt.
            open=(*self._unsettled.values(), *self.open.values()),
            unwritten=unwritten,
            led_by=self.led_by,
            release=self.release,
            types=self.cells.types,
        )

    def copy_rows(self) -> Iterator[Rows]:
        """The rows of all tables as of now, in chunks that fit between two ticks. The bot may go on between chunks.

        A row is copied as it is when its chunk is made. So the copy equals no state of the bot until the frames that
        were made meanwhile have been applied to it.
        """
        # The walks begin now and not with the first chunk: a key that a frame adds in between must not be in the copy
        # already, at another place.
        sizes = self.cells.sizes(self.state)
        return self._chunks(
            {table: self.cells.walk(self.state, table) for table, size in sizes.items() if size}
        )

    def _chunks(self, walks: dict[str, DictWalk]) -> Iterator[Rows]:
        cells, state = self.cells, self.state
        for table, walk in walks.items():
            count = _FIRST_ROWS
            while keys := walk.take(count):
                rows = cells.rows(state, table, keys)
                # The next rows are assumed to be about as large as these.
                size = sum(len(key) + len(row) for key, row in rows) // len(keys)
                count = max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, size)))
                yield Rows(table, rows)

    def whole(self, rows: dict[str, int]) -> Whole:
        """Return the record that completes a snapshot: number and digest of its frame, and its rows per table."""
        return Whole(self.number, self.digest, rows)

    # the follower's side

    def restore(self, head: Snapshot, position: Position) -> None:
        """Begin again from a snapshot; its rows follow by `add_rows`. Raises `StateUnreadable` or `MigrationError`."""
        settings = self.settings.read(head.vitals.settings)
        self._load(head.schema, head.cells, head)
        self.settings.take(settings)
        self.timers.restore(head.vitals.timers)
        vitals = head.vitals
        self.inbox.restore(vitals.applied, vitals.waiting, vitals.aside, vitals.numbers, vitals.feeds)
        self.paused = head.vitals.paused
        self.open = {opened.id: opened for opened in head.open}
        self._unsettled = {}
        self.epoch, self.number, self.digest = head.epoch, head.number, head.digest
        self.led_by, self.release = head.led_by, head.release
        self.seq = None if head.seq < 0 else head.seq
        self.due = head.vitals.due
        self.ahead = head.vitals.ahead
        self.lost.times = head.vitals.lost
        self.position = position

    def add_rows(self, table: str, rows: list[tuple[bytes, bytes]]) -> None:
        """Add a chunk of a copy. Raises as `restore`."""
        changes = Changes({}, {table: list(rows)})
        try:
            self._read(changes, self._translator.translate(changes) if self._translator else changes)
        except StateUnreadable as problem:
            raise self._reworded(problem, self.leader_schema) from None

    def apply(self, frame: Frame, body: bytes, position: Position, translated: Changes | None = None) -> None:
        """Apply a leader's frame.

        Raises `ChainBroken` when it does not continue the chain, `StateUnreadable` or `MigrationError` when this code
        cannot read it. Nothing has changed then, and the caller may `freeze`.
        """
        if frame.number != self.number + 1 or frame.prev != self.digest:
            raise ChainBroken
        settings = None
        if frame.settings is not None and (frame.kind == "reset" or not self.frozen):
            try:
                settings = self.settings.read(frame.settings)
            except StateUnreadable:
                if not self.frozen:
                    raise
        if frame.kind == "reset":
            self._reset(frame)
        elif not self.frozen:
            changes = frame.changes if translated is None else translated
            if changes:
                try:
                    self._follow_schema(frame.schema)
                    written, changes = changes, self._readable(frame.schema, changes, translated is not None)
                    self._read(written, changes)
                except StateUnreadable as problem:
                    raise self._reworded(problem, frame.schema) from None
                if self.changed is not None:
                    self.changed.update(changes.cells, changes.tables)
            self.leader_schema = frame.schema
        self.advance(frame, body, position)
        self.timers.absorb(frame.timers)
        self.inbox.absorb(frame.traffic, frame.timing.ended)
        if settings is not None:
            self.settings.take(settings)
        if frame.paused is not None:
            self.paused = frame.paused

    def freeze(self, reason: str) -> None:
        """Keep the state as it is, and follow only the chain. `reason` says why."""
        self.frozen = reason

    def note(self, opened: Opened | None, closed: Closed | str) -> None:
        """Record that a decision was opened or closed."""
        if opened is not None:
            self.open[opened.id] = opened
        elif closed:
            decision = self.open.pop(closed if isinstance(closed, str) else closed.id, None)
            if decision is not None:
                self._unsettled[decision.id] = decision

    def forget_decisions(self) -> None:
        """The leader has yielded, with no decision open: close those whose message was lost."""
        self.open = {id: opened for id, opened in self.open.items() if id.startswith(COMMAND)}
        self._unsettled.clear()

    def in_doubt(self) -> list[Opened]:
        """The decisions of a dead leader: open ones, and closed ones whose turn has no frame."""
        left = [*self._unsettled.values(), *self.open.values()]
        return sorted(
            (decision for decision in left if not decision.id.startswith(COMMAND)),
            key=lambda decision: decision.at,
        )

    def changes(self) -> StateChanges | None:
        """How the state of another release differs now that this code has read it; None for one in this schema."""
        return self.comparison.result() if self.comparison is not None else None

    def refusal(self) -> str:
        """Why this code may not take over the state that it has read: values would be lost. "" when it may."""
        if self.comparison is None or self.may_drop is None:
            return ""
        return refusal(self.comparison.result(), self.may_drop)

    def try_read(self, schema: Schema, changes: Changes) -> str:
        """Return why this code cannot read `changes`, "" when it can. Nothing is applied."""
        try:
            if schema.version != self.schema.version:
                translator = Translator(self.migrations, schema, self.schema)
                root = translator.load(changes.cells)
                changes = Changes(root, translator.translate(Changes({}, changes.tables)).tables)
            self.cells.check(changes)
        except (StateUnreadable, MigrationError) as problem:
            return str(problem)
        return ""

    def _translated(self, translator: Translator, cells: dict[str, bytes]) -> dict[str, bytes]:
        """A whole state in our schema. A table that is one cell is migrated as a table, not as part of the root."""
        tables = {name: data for name, data in cells.items() if name in self.cells.table_names}
        root = {name: data for name, data in cells.items() if name not in tables}
        return translator.load(root) | translator.tables(tables)

    def _reset(self, frame: Frame) -> None:
        try:
            self._load(frame.schema, frame.changes.cells)
        except (StateUnreadable, MigrationError):
            if not self.frozen:
                raise

    def _load(self, schema: Schema, cells: dict[str, bytes], head: Snapshot | None = None) -> None:
        """Replace the bot's own state by one from cells in `schema`. `head` is the snapshot that they are of."""
        translator, written = None, cells
        if schema.version != self.schema.version:
            translator = Translator(self.migrations, schema, self.schema)
            cells = self._translated(translator, cells)
        try:
            self.state = self.cells.load(cells)
        except StateUnreadable as problem:
            raise self._reworded(problem, schema) from None
        if self.changed is not None:
            self.changed.update((*self.cells.names, *self.cells.table_names))
        self._translator = translator
        self.leader_schema = schema
        self.frozen = ""
        self.comparison = None
        types, rows = (head.types, head.tables) if head is not None else (b"", {})
        # A leader on newer code translates the cells for this one, and they come in this schema.
        if schema != self.schema or (types and types != self.cells.types):
            drops = translator.drops if translator is not None else frozenset[str]()
            self.comparison = ReleaseComparison(self.cells, types, written.keys() | rows.keys(), rows, drops)
            self.comparison.note(Changes(cells, {}))
            if translator is not None:
                self.comparison.note_left_out(translator.left_out())

    def _follow_schema(self, schema: Schema) -> None:
        """A frame has come in `schema`: compare what it has, unless it is this code's own."""
        if schema == self.schema:
            # Its leader wrote what this code would: nothing more can be lost.
            self.comparison = None
        elif self.comparison is None:
            self.comparison = ReleaseComparison(self.cells)

    def _read(self, written: Changes, changes: Changes) -> None:
        """Apply `changes`, which were `written` in the leader's schema, and note what is lost with them."""
        self.cells.apply(self.state, changes)
        if self.comparison is None:
            return
        self.comparison.note(changes)
        if self._translator is not None:
            for table, rows in written.tables.items():
                self.comparison.note_left_out(self._translator.left_out_of_rows(table, rows))
            if written.cells:
                self.comparison.note_left_out(self._translator.left_out())

    def _reworded(self, problem: StateUnreadable, schema: Schema) -> StateUnreadable:
        return problem.as_written_by_bug() if schema == self.schema else problem

    def _readable(self, schema: Schema, changes: Changes, translated: bool) -> Changes:
        if translated or schema.version == self.schema.version:
            return changes
        if self._translator is None or schema != self.leader_schema:
            raise MigrationError(
                f"the stream changed to state version {schema.version}, this code reads {self.schema.version}"
            )
        return self._translator.translate(changes)
