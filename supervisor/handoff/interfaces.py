"""The interfaces of the driver: what it acts with, who follows it, and what it records for a later driver."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ...protocol.handoff.handoff import Handoff
from ...protocol.handoff.handoff_events import Phase
from ...protocol.link import SupervisorMessage
from ..workers.registry import Member

__all__ = ["Finished", "HandoffActions", "HandoffListener", "HandoffRecord"]


class HandoffActions(Protocol):
    """What the driver acts with: see `WorkerPool`. `start` may raise `SpawnError`."""

    def start(self, worker: str) -> Member: ...
    def send(self, worker: str, message: SupervisorMessage) -> bool: ...
    def free(self, worker: str) -> None: ...
    def dismiss(self, worker: str, why: str) -> None: ...
    def kill(self, worker: str, reason: str) -> None: ...


class Finished(msgspec.Struct, frozen=True):
    """How a handoff ended. `seq`, `blackout`, `late` and `missed` are those of the new worker's first tick, if any."""

    phase: Phase
    reason: str
    leader: str
    """The worker that leads, "" when none does."""
    took_over: bool
    """Whether the new worker has led, even briefly."""
    seq: int | None = None
    blackout: int | None = None
    late: int | None = None
    missed: int = 0
    rollback: str = ""

    @property
    def back(self) -> bool:
        """It was rolled back, and the old code can go on: it leads, or can read the state that the new code wrote."""
        return self.phase is Phase.ROLLED_BACK and (bool(self.leader) or self.rollback in ("", "newest"))


class HandoffRecord(msgspec.Struct, frozen=True):
    """What a later driver needs to resume: the state machine, when its phase began (wall ns), and whether the new
    worker has led."""

    handoff: Handoff
    since: int
    took_over: bool


class HandoffListener:
    """Follows one handoff. The driver calls these methods; each does nothing unless it is overridden."""

    def recorded(self, record: HandoffRecord) -> None:
        """The handoff has changed. Called before anything is done about the change."""

    def turned(self, worker: str) -> None:
        """The handoff will be from this worker instead: the deployment before this one was rolled back."""

    def committed(self) -> None:
        """The new worker leads."""

    def reverted(self) -> None:
        """The old code leads again, or is going to."""

    def finished(self, how: Finished) -> None:
        """The handoff has ended. Called once, last."""
