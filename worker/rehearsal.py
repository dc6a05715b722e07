"""The rehearsal: a new worker has the real state, and finds out what that is worth before anything is at stake.

Once the copy is here and the bot's `on_load` has seen it, one question is left: could the old code follow what this
code will write? The state as it would look after the handoff is sent to the leader, translated where there is a
migration back; the leader decodes it, throws it away and says. So `deploy` knows before the cutover whether a rollback
keeps the newest state.
"""

from __future__ import annotations

from itertools import islice

from ..protocol.changes import Changes
from ..protocol.link import Rehearsed
from ..protocol.stream import Trial
from .follower import Copied
from .migration import MigrationError, Translator
from .replica import Replica

__all__ = ["NEWEST", "Rehearsal"]

NEWEST = "newest"
"""What `Rehearsed.rollback` says when the old code could go on with what the new code wrote."""

_SAMPLE_ROWS = 16


class Rehearsal:
    """One follower's, from its copy on."""

    def __init__(self, replica: Replica, copied: Copied) -> None:
        self._replica = replica
        self._copied = copied
        self.trial: Trial | None = None
        """What to ask the leader, None when the answer is known."""
        self.problem = ""
        """Why the old code could not follow, as far as that is known here."""
        try:
            self.trial = Trial(replica.leaders, self._sample())
        except MigrationError as problem:
            self.problem = str(problem)

    def verdict(self, problem: str) -> Rehearsed:
        """What to tell the supervisor, given what the leader found (or `self.problem`)."""
        copied = self._copied
        return Rehearsed(copied.bytes, copied.rows, copied.took, problem or NEWEST)

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
