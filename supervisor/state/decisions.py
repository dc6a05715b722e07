"""The decisions taken since a point: what a state from before them does not know."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from ...protocol.frame import COMMAND, Frame, Led
from ...protocol.journal import Closed, Entry, Opened, Snapshot
from ..audit.reader import read_journal, segments
from ..audit.walk import JournalWalk
from .leads import opening_of

__all__ = ["DecisionSince", "decisions_since"]


class DecisionSince(msgspec.Struct, frozen=True):
    """A decision. `outcome` is "done", what its body raised, "in doubt", or "open"."""

    id: str
    name: str
    at: int
    """When it was opened, wall ns."""
    outcome: str


def decisions_since(journal: Path, number: int) -> list[DecisionSince]:
    """The decisions opened after frame `number`, and those that were open or in doubt then; oldest first."""
    begin = -1
    for segment, _ in segments(journal):
        head = opening_of(journal, segment)
        if head is not None and head.number <= number:
            begin = segment - 1
    walk = _DecisionWalk(number)
    walk.take_all(read_journal(journal, after=begin))
    return walk.result()


class _DecisionWalk(JournalWalk):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._since = number
        self._taken: dict[str, Opened] = {}
        self._outcomes: dict[str, str] = {}
        self._before: set[str] = set()
        """Those opened before the point: they count only when they are open or in doubt after it."""

    def result(self) -> list[DecisionSince]:
        return [
            DecisionSince(one.id, one.name, one.at, self._outcomes.get(id, "open"))
            for id, one in self._taken.items()
            if id not in self._before
        ]

    def _on_snapshot(self, head: Snapshot, entry: Entry, *, resumes: bool) -> None:
        self._note(head.open)

    def _on_opened(self, opened: Opened, entry: Entry) -> None:
        self._note((opened,))

    def _on_closed(self, closed: Closed, entry: Entry) -> None:
        self._outcomes[closed.id] = closed.outcome

    def _on_frame(self, frame: Frame, entry: Entry) -> None:
        if isinstance(frame.about, Led):
            for id in frame.about.in_doubt:
                # Also one that was closed in a turn that has no frame: its outcome is in no state.
                self._outcomes[id] = "in doubt"
        if frame.number == self._since:
            self._before = {
                id for id in self._taken if self._outcomes.get(id, "open") not in ("open", "in doubt")
            }

    def _note(self, opened: Iterable[Opened]) -> None:
        for one in opened:
            if not one.id.startswith(COMMAND) and one.id not in self._taken:
                self._taken[one.id] = one
