"""Copying the state while the bot goes on: the root at once, and the rows of its tables in small chunks between turns.

A row is copied as it is when its turn comes. So a copy matches no moment of the state until the frames that were made
since it began have been applied to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...protocol.journal import Rows
from ..model.dict_walk import DictWalk
from ..model.replica import Replica

__all__ = ["copy_rows"]

CHUNK_ROWS = 256
CHUNK_BYTES = 128 * 1024
_FIRST_ROWS = 16


def copy_rows(replica: Replica) -> Iterator[Rows]:
    """The rows of all tables as of now, each chunk small enough to fit between two ticks."""
    # The walks begin now and not when the first chunk goes: frames that come in between are applied to the copy
    # afterwards, and a key that one of them adds must not be there before, in another place.
    cells, state = replica.cells, replica.state
    return _chunks(
        replica, {table: cells.walk(state, table) for table, size in cells.sizes(state).items() if size}
    )


def _chunks(replica: Replica, walks: dict[str, DictWalk]) -> Iterator[Rows]:
    cells, state = replica.cells, replica.state
    for table, walk in walks.items():
        at_once = _FIRST_ROWS
        while some := walk.take(at_once):
            rows = cells.rows(state, table, some)
            # A table's rows are about as large as those before them.
            size = sum(len(key) + len(row) for key, row in rows) // len(some)
            at_once = max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, size)))
            yield Rows(table, rows)
