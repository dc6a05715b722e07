"""Invariant 3: no worker left with a decision open, and successors learned of those that a dead leader left open."""

from __future__ import annotations

from collections.abc import Iterable

from ...protocol.frame import COMMAND, Frame, Led
from ...protocol.journal import Closed, Opened
from .report import MOST, DecisionsFound
from .scope import Scope

__all__ = ["DecisionAudit"]


class DecisionAudit:
    """Follows the records of decisions, which are between the frames."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._open: dict[str, Opened] = {}
        self._doubted: dict[str, Opened] = {}
        """Left open by a dead leader; the bot decides whether they are ever closed."""
        self._unsettled: dict[str, Opened] = {}
        """Closed in a turn that has no frame yet: if the leader dies before the frame, their outcome is unknown."""
        self._ids: set[str] = set()
        self._of = (0, 0)
        """The epoch and tick of `_ids`. An id contains both, so a repeated older id is noticed by them."""
        self._counts = [0, 0, 0]
        self._in_doubt: list[str] = []
        self._across: list[str] = []
        self._severed = False

    def resume(self, open: Iterable[Opened]) -> None:
        """The state continues from a snapshot with these open."""
        self._open = {
            opened.id: opened
            for opened in open
            if opened.id not in self._doubted and not opened.id.startswith(COMMAND)
        }
        self._unsettled = {}

    def severed(self) -> None:
        """Records before this one are missing."""
        self._severed = True

    def has_opened(self, id: str) -> bool:
        """Whether the record that opens it was read recently."""
        return id in self._ids or id in self._open

    def is_open(self, id: str) -> bool:
        return id in self._open or id in self._doubted

    def opened(self, record: Opened, epoch: int) -> None:
        if record.id.startswith(COMMAND):
            # This is an operator's command, not a decision of the bot.
            return
        if self._scope.open:
            self._counts[0] += 1
        of = (record.epoch, record.seq)
        if of != self._of:
            if record.epoch == self._of[0] and record.seq < self._of[1]:
                self._scope.breaks(
                    3, f"decision {record.id} belongs to an earlier tick than the one before it"
                )
            self._of = of
            self._ids.clear()
        if record.id in self._ids or record.id in self._open:
            self._scope.breaks(
                3, f"decision {record.id} was opened twice: its id does not identify one order any more"
            )
        if record.epoch < epoch:
            self._scope.breaks(
                1, f"decision {record.id} of epoch {record.epoch} was opened while epoch {epoch} led"
            )
        self._ids.add(record.id)
        self._open[record.id] = record

    def closed(self, record: Closed) -> None:
        opened = self._open.pop(record.id, None)
        if opened is None:
            if self._doubted.pop(record.id, None) is None and not self._severed:
                self._scope.breaks(3, f"decision {record.id} was closed but was not open")
        elif record.epoch > opened.epoch:
            # Closed by the successor of the leader that opened it: its lead frame will list the decision as in doubt.
            self._doubted[record.id] = opened
        else:
            self._unsettled[record.id] = opened
        if self._scope.open:
            self._counts[1] += 1
            self._counts[2] += record.outcome != "done"

    def settled(self, frame: Frame) -> None:
        """A turn has ended: the outcome of its decisions is part of the state."""
        if self._unsettled:
            self._unsettled = {
                id: decision for id, decision in self._unsettled.items() if decision.epoch < frame.epoch
            }

    def ended(self, frame: Frame) -> None:
        """The leader yielded or stopped: none of its decisions may be open."""
        for opened in list(self._open.values()):
            if opened.epoch > frame.epoch:
                continue
            del self._open[opened.id]
            if self._scope.open and len(self._across) < MOST:
                self._across.append(opened.id)
            self._scope.breaks(
                3, f"decision {opened.id} ({opened.name}) was open when its worker {_left(frame)}"
            )

    def led(self, frame: Frame) -> None:
        """A new leader: what is still open is in doubt, and the lead frame must list it."""
        led = frame.about
        in_doubt = set(led.in_doubt) if isinstance(led, Led) else set[str]()
        candidates = {**self._unsettled, **self._open}
        left = {id: opened for id, opened in candidates.items() if opened.epoch < frame.epoch}
        for id, opened in left.items():
            if id not in in_doubt:
                self._scope.breaks(
                    3,
                    f"decision {id} ({opened.name}) was {'left open by' if id in self._open else 'in the last turn of'}"
                    " a dead leader, and its successor was not informed",
                )
        for id in in_doubt - left.keys() - self._doubted.keys():
            if not self._severed:
                self._scope.breaks(3, f"decision {id} is listed as in doubt but was not open")
        if self._scope.open:
            self._in_doubt += sorted(in_doubt & left.keys())[: MOST - len(self._in_doubt)]
        for id, opened in left.items():
            self._doubted[id] = self._open.pop(id, opened)
            self._unsettled.pop(id, None)

    def found(self) -> DecisionsFound:
        opened, closed, raised = self._counts
        return DecisionsFound(opened, closed, raised, self._in_doubt, self._across, list(self._open)[:MOST])


def _left(frame: Frame) -> str:
    return "yielded" if frame.kind == "yield" else "stopped the bot"
