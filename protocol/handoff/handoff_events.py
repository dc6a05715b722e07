"""The events and commands of `handoff`: the input from its driver, and what the driver has to do."""

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
"""The beginning of the reason when the old worker reached no boundary; programs recognize this abort by it."""


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
    """The order was cancelled; the old worker has not confirmed that yet, and may have yielded already."""
    TRANSFERRING = "transferring"
    """The old worker has yielded, the new one does not lead yet."""
    PROBATION = "probation"
    """The new worker leads, and the old one follows it."""
    REVERTING = "reverting"
    """The new worker was ordered to yield back."""
    RETIRING = "retiring"
    """The deployment is final; the old worker is leaving."""
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
    """A worker has reported that it failed and leaves, and the reason."""

    worker: str
    reason: str


class Exited(msgspec.Struct, frozen=True):
    """A worker's process has ended."""

    worker: str
    reason: str = ""


class Suspected(msgspec.Struct, frozen=True):
    """A follower reports that the leader does not work."""

    by: str
    leader: str
    reason: str
    decision: str = ""
    """The leader's open decision, as far as known: a slow decision is not interrupted."""


class Withdrawn(msgspec.Struct, frozen=True):
    """A worker confirmed that it leads and will not carry the order out."""

    worker: str
    order: int


class AbortRequested(msgspec.Struct, frozen=True):
    """The operator cancels the deployment."""

    reason: str


class RollbackRequested(msgspec.Struct, frozen=True):
    """The operator, or a report of the worker itself, requires the old code again."""

    reason: str


class TimerFired(msgspec.Struct, frozen=True):
    """A timer has run out."""

    name: str


class Cleared(msgspec.Struct, frozen=True):
    """The deployment before this one has ended. `leader` leads now, under `epoch`; "" if no worker leads."""

    leader: str
    epoch: int


class StandsBy(msgspec.Struct, frozen=True):
    """This third worker has the state and takes the lease when its leader dies; "" if there is none (any more)."""

    worker: str


class HandoffResumed(msgspec.Struct, frozen=True):
    """A supervisor resumes the deployment: its workers' present states, None for a worker whose process has ended."""

    old: Seen | None
    new: Seen | None
    settled: int = 0
    """The highest order that the old worker has carried out or cancelled."""
    third: Seen | None = None
    """A third worker that leads, or else one that guards."""
    cleared: bool = True
    """The deployment before this one, if there was one, has ended too."""
    last: str = ""
    """The worker that took the lease last, dead or alive, according to the lease's file; "" if unknown."""


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
    """A worker is not needed: order it to retire, and kill it if it does not."""

    worker: str


class Kill(msgspec.Struct, frozen=True):
    """End a worker's process now."""

    worker: str
    reason: str


class ArmTimer(msgspec.Struct, frozen=True):
    """Feed `TimerFired(name)` after its time: start, rehearse, boundary, repeat, probation, retire or succeed."""

    name: str


class DisarmTimer(msgspec.Struct, frozen=True):
    name: str


class Finish(msgspec.Struct, frozen=True):
    """The deployment has ended; `leader` leads ("" when no worker does)."""

    phase: Phase
    reason: str
    leader: str


HandoffCommand = Spawn | SendTo | Dismiss | Kill | ArmTimer | DisarmTimer | Finish
