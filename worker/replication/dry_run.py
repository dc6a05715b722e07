"""The rehearsal: a new worker has the real state, and finds out what that is worth before anything is at stake.

Once it has the copy and the bot's `on_load` has seen it, one question is left: could the old code follow what this code
will write? The new worker sends the state as it would look after the handoff to the leader, translated where there is a
migration back; the leader decodes it, discards it and answers. So `deploy` knows before the cutover whether a rollback
keeps the newest state.
"""

from __future__ import annotations

from itertools import islice

from ...protocol.changes import Changes
from ...protocol.link import Rehearsed
from ...protocol.stream import Trial
from ..model.migration import MigrationError, Translator
from ..model.replica import Replica
from .follower import CopyDone
from .interfaces import WorkerIO

__all__ = ["NEWEST", "DryRun"]

NEWEST = "newest"
"""What `Rehearsed.rollback` says when the old code could go on with what the new code wrote."""

_SAMPLE_ROWS = 16


class DryRun:
    """One follower's, for its copy; begun anew with each."""

    def __init__(self, replica: Replica, io: WorkerIO) -> None:
        self._replica = replica
        self._io = io
        self._copied: CopyDone | None = None
        self._trial: Trial | None = None
        self._problem = ""
        self.found: Rehearsed | None = None
        """What it found, None as long as it has not."""

    @property
    def open(self) -> bool:
        """Whether there is a copy of which it is not known yet what the leader thinks."""
        return self._copied is not None

    def begin(self, copied: CopyDone) -> None:
        """The copy is here: take the sample that the leader will be asked about."""
        self._copied = copied
        self._trial, self._problem = None, ""
        try:
            self._trial = Trial(self._replica.leaders, self._sample())
        except MigrationError as problem:
            self._problem = str(problem)

    def drop(self) -> None:
        """The copy no longer is a state."""
        self._copied = None

    def ask(self) -> bool:
        """Ask the leader; return whether the answer has to be waited for."""
        if self._trial is None:
            self.judged(self._problem)
            return False
        self._io.to_leader(self._trial)
        return True

    def judged(self, problem: str) -> bool:
        """The leader's answer, "" when it could read all of it: tell the supervisor. False when none was asked for."""
        copied, self._copied = self._copied, None
        if copied is None:
            return False
        self.found = Rehearsed(copied.bytes, copied.rows, copied.took, problem or NEWEST)
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
        if replica.leaders.version == replica.schema.version:
            return Changes(root, tables)
        back = Translator(replica.migrations, replica.schema, replica.leaders)
        return Changes(back.load(root), back.translate(Changes({}, tables)).tables)
