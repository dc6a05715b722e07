"""The decisions of a leader: numbered, journaled before their body runs, and reported to followers and supervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...protocol.frame import Item
from ...protocol.journal import Closed, Opened, RecordKind, encode_payload
from ...protocol.link import DecisionClosed, DecisionOpened
from ..model.decision import NotLeading, encodable
from ..replication.interfaces import WorkerIO
from ..replication.publisher import StateStream

__all__ = ["DecisionLog"]


class DecisionLog:
    """Opens and closes decisions. `turn()` returns the grid index of the open turn, None when no turn is open."""

    def __init__(self, stream: StateStream, io: WorkerIO, turn: Callable[[], int | None]) -> None:
        self._replica, self._writer, self._publisher = stream
        self._io = io
        self._turn = turn
        self._of = (0, 0)
        self._ordinal = 0
        self._mine: dict[str, str] = {}

    @property
    def open_name(self) -> str:
        """The name of the decision that has been open longest in this process, "" when none is open."""
        return next(iter(self._mine.values()), "")

    def mine(self) -> list[DecisionOpened]:
        """The decisions that this process has open, as they were reported."""
        opened = (self._replica.open.get(id) for id in self._mine)
        return [
            DecisionOpened(decision.id, decision.name, decision.at)
            for decision in opened
            if decision is not None
        ]

    def open_decision(self, name: str, args: dict[str, Any]) -> Opened:
        """Open a decision; its record is in the journal when this returns, unless the journal cannot be written.

        Raises `NotLeading` outside a turn and in a process that has lost the lease, `DecisionError` for arguments that
        cannot be recorded.
        """
        seq = self._turn()
        if seq is None or not self._io.lease.held:
            raise NotLeading(name, "between two turns" if seq is None else "a process without the lease")
        kept = encodable(name, args)
        replica = self._replica
        of = (replica.epoch, seq)
        if of != self._of:
            self._of, self._ordinal = of, 0
        opened = Opened(
            f"{replica.epoch}-{seq}-{self._ordinal}",
            replica.epoch,
            seq,
            name,
            kept,
            self._io.clock.wall(),
        )
        self._ordinal += 1
        self._writer.append(RecordKind.OPENED, encode_payload(opened))
        replica.note(opened, "")
        self._mine[opened.id] = name
        self._publisher.noted(opened)
        self._io.tell(DecisionOpened(opened.id, name, opened.at))
        return opened

    def note_begun(self, command: Item, name: str, args: dict[str, Any]) -> None:
        """Record that an operator's command is about to run, for a successor if this process dies in it."""
        replica = self._replica
        seq = 0 if replica.seq is None else replica.seq
        opened = Opened(command.key, replica.epoch, seq, name, args, self._io.clock.wall())
        self._writer.append(RecordKind.OPENED, encode_payload(opened))
        replica.note(opened, "")
        self._publisher.noted(opened)

    def close_decision(self, opened: Opened, outcome: str) -> None:
        """Close a decision: `outcome` is "done", or the exception of its body."""
        self._mine.pop(opened.id, None)
        closed = Closed(opened.id, self._replica.epoch, outcome, self._io.clock.wall())
        self._writer.append(RecordKind.CLOSED, encode_payload(closed))
        self._replica.note(None, closed)
        self._publisher.noted(None, opened.id)
        self._io.tell(DecisionClosed(opened.id))
