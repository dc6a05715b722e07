"""The driver's ports: what it does things with, whom it tells, and what it leaves to a later one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from ...protocol.handoff.handoff import Handoff
from ...protocol.handoff.handoff_events import Phase
from ...protocol.link import SupervisorMessage
from ..workers.registry import Member

__all__ = ["Finished", "HandoffActions", "HandoffListener", "HandoffRecord"]


class HandoffActions(Protocol):
    """What the driver does things with: see `crew.Crew`. `start` may raise `SpawnError`."""

    def start(self, worker: str) -> Member: ...
    def send(self, worker: str, message: SupervisorMessage) -> bool: ...
    def free(self, worker: str) -> None: ...
    def dismiss(self, worker: str, why: str) -> None: ...
    def kill(self, worker: str, reason: str) -> None: ...


class Finished(msgspec.Struct, frozen=True):
    """How a handoff ended. `seq`, `blackout`, `late` and `missed` are of the new worker's first tick, if it had one."""

    phase: Phase
    reason: str
    leader: str
    """Who leads, "" when nobody does."""
    took_over: bool
    """The new worker led, if only for a while."""
    seq: int | None = None
    blackout: int | None = None
    late: int | None = None
    missed: int = 0
    rollback: str = ""

    @property
    def back(self) -> bool:
        """It was rolled back, and the old code can go on: it leads, or is able to read what the new one wrote."""
        return self.phase is Phase.ROLLED_BACK and (bool(self.leader) or self.rollback in ("", "newest"))


class HandoffRecord(msgspec.Struct, frozen=True):
    """What a driver knows that a later one has to: the machine, since when (wall ns) it is in its phase, and whether
    the new worker has led."""

    handoff: Handoff
    since: int
    took_over: bool


class HandoffListener(msgspec.Struct, frozen=True):
    """Who is told how it goes: `kept(what)` whenever that has changed, before anything is done about it;
    `turned(worker)` when it is from another worker that it is going to take over, `committed()` when the new worker
    leads, `reverted()` when the old one leads again, `finished` once, last."""

    kept: Callable[[HandoffRecord], None]
    turned: Callable[[str], None]
    committed: Callable[[], None]
    reverted: Callable[[], None]
    finished: Callable[[Finished], None]
