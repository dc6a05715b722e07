"""The events and commands of `handoff`: what its driver feeds it, and what it tells its driver to do."""

from __future__ import annotations

from enum import Enum

import msgspec

from ..link import CancelYield, Follow, Lead, Retire, YieldTo

__all__ = [
    "NO_BOUNDARY",
    "AbortRequested",
    "ArmTimer",
    "CannotRead",
    "Cleared",
    "DeployRequested",
    "DisarmTimer",
    "Dismiss",
    "Exited",
    "Finish",
    "HandoffCommand",
    "HandoffEvent",
    "HandoffResumed",
    "Kill",
    "Phase",
    "RollbackRequested",
    "Seen",
    "SendTo",
    "Spawn",
    "StandsBy",
    "Suspected",
    "TimerFired",
    "Withdrawn",
]

NO_BOUNDARY = "no boundary in time"
"""How the reason begins when the old worker reached no boundary; programs tell this abort from the others by it."""


class Phase(Enum):
    PREPARING = "preparing"
    """The new worker starts: interpreter, imports, `on_start`."""
    REHEARSING = "rehearsing"
    """The new worker copies, migrates and loads the real state."""
    PREPARED = "prepared"
    """The new worker has caught up, and the deployment before this one is still in its probation."""
    WAITING = "waiting"
    """The old worker was ordered to yield at its next boundary."""
    CANCELLING = "cancelling"
    """The order was taken back; the old worker has not confirmed yet, and may have yielded already."""
    TRANSFERRING = "transferring"
    """The old worker has yielded, the new one does not lead yet."""
    PROBATION = "probation"
    """The new worker leads, the old one follows along."""
    REVERTING = "reverting"
    """The new worker was ordered to yield back."""
    RETIRING = "retiring"
    """The deployment stands; the old worker is leaving."""
    SUCCEEDING = "succeeding"
    """Only the standby is left, and is about to lead."""
    DONE = "done"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"


# --- events ---------------------------------------------------------------------------------------------------------


class DeployRequested(msgspec.Struct, frozen=True):
    """Start the deployment."""


class Seen(msgspec.Struct, frozen=True):
    """A worker reported what it is now."""

    worker: str
    role: str
    loaded: bool = False
    ready: bool = True
    """`on_start` is done."""
    epoch: int = 0
    """Of the report; 0 when that is not known."""


class CannotRead(msgspec.Struct, frozen=True):
    """A worker said that it failed and leaves; why."""

    worker: str
    reason: str


class Exited(msgspec.Struct, frozen=True):
    """A worker's process has ended."""

    worker: str
    reason: str = ""


class Suspected(msgspec.Struct, frozen=True):
    """A worker that follows says the leader does not do its work."""

    by: str
    leader: str
    reason: str
    decision: str = ""
    """The decision the leader has open, as far as known: one is not cut for being slow."""


class Withdrawn(msgspec.Struct, frozen=True):
    """A worker confirmed that it leads and will not carry the order out."""

    worker: str
    order: int


class AbortRequested(msgspec.Struct, frozen=True):
    """The operator cancels the deployment."""

    reason: str


class RollbackRequested(msgspec.Struct, frozen=True):
    """The operator, or the worker's own word, wants the old code back."""

    reason: str


class TimerFired(msgspec.Struct, frozen=True):
    """An alarm has run out."""

    name: str


class Cleared(msgspec.Struct, frozen=True):
    """The deployment before this one has ended. `leader` leads now, under `epoch`; "": no worker does."""

    leader: str
    epoch: int


class StandsBy(msgspec.Struct, frozen=True):
    """This third worker has the state and takes the lease when its leader dies; "": there is none (any more)."""

    worker: str


class HandoffResumed(msgspec.Struct, frozen=True):
    """A supervisor has come back to the deployment: what its workers are now, None for one whose process has ended."""

    old: Seen | None
    new: Seen | None
    settled: int = 0
    """The highest order that the old worker has carried out or cancelled."""
    third: Seen | None = None
    """A worker beside the two that leads, or else one that guards."""
    cleared: bool = True
    """The deployment before this one, if there was one, has ended too."""
    last: str = ""
    """The worker that took the lease last, dead or alive, as the lease's file says; "" when that is not known."""


HandoffEvent = (
    DeployRequested
    | Seen
    | CannotRead
    | Cleared
    | Exited
    | Suspected
    | Withdrawn
    | AbortRequested
    | RollbackRequested
    | TimerFired
    | StandsBy
    | HandoffResumed
)


# --- commands -------------------------------------------------------------------------------------------------------


class Spawn(msgspec.Struct, frozen=True):
    """Start the new worker."""

    worker: str


class SendTo(msgspec.Struct, frozen=True):
    """Send a message to a worker."""

    worker: str
    message: Follow | Lead | YieldTo | CancelYield | Retire


class Dismiss(msgspec.Struct, frozen=True):
    """A worker is not needed: ask it to retire, and end it when it does not."""

    worker: str


class Kill(msgspec.Struct, frozen=True):
    """End a worker's process now."""

    worker: str
    reason: str


class ArmTimer(msgspec.Struct, frozen=True):
    """Feed `RungOut(name)` after its time: start, rehearse, boundary, repeat, probation, retire or succeed."""

    name: str


class DisarmTimer(msgspec.Struct, frozen=True):
    name: str


class Finish(msgspec.Struct, frozen=True):
    """The deployment has ended; `leader` leads ("" when no worker does)."""

    phase: Phase
    reason: str
    leader: str


HandoffCommand = Spawn | SendTo | Dismiss | Kill | ArmTimer | DisarmTimer | Finish
