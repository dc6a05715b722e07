"""The events and commands of `seat`: what its driver feeds it, and what it tells its driver to do."""

from __future__ import annotations

from enum import Enum

import msgspec

from .frame import Cause
from .link import CancelYield, Follow, Lead, Retire, Stop, YieldTo

__all__ = [
    "Announce",
    "ArmSeatTimer",
    "Boundary",
    "Cancel",
    "CaughtUp",
    "Connect",
    "DisarmSeatTimer",
    "DropLease",
    "ExitProcess",
    "Fell",
    "Hold",
    "LeaderGone",
    "LeaseRefused",
    "LeaseTaken",
    "LedBy",
    "Received",
    "Role",
    "SeatCommand",
    "SeatEvent",
    "SeatTimerFired",
    "SendFailing",
    "SendFinal",
    "SendTook",
    "Silent",
    "Stale",
    "StartLeading",
    "Started",
    "StreamUnreadable",
    "SuccessorDeclined",
    "SuccessorTook",
    "Suspects",
    "TakeLease",
]


class Role(Enum):
    JOINING = "joining"
    FOLLOWING = "following"
    LEADING = "leading"
    YIELDING = "yielding"
    RETIRED = "retired"


# --- events ---------------------------------------------------------------------------------------------------------
# The supervisor's messages Follow, Lead, YieldTo, CancelYield, Retire and Stop are events too, as they come.


class Started(msgspec.Struct, frozen=True):
    """The user's code is imported and `on_start` is done."""


class CaughtUp(msgspec.Struct, frozen=True):
    """This follower has the leader's whole state, in its own schema."""


class Stale(msgspec.Struct, frozen=True):
    """This follower has lost the thread of the stream and needs a new copy."""


class StreamUnreadable(msgspec.Struct, frozen=True):
    """This follower cannot read the stream at all; why."""

    reason: str


class Boundary(msgspec.Struct, frozen=True):
    """A turn has ended, or time passed between two turns. What might keep the leader from yielding here:"""

    decision: str = ""
    """The name of an open decision."""
    window: str = ""
    """The name of a protected window that is open now."""
    slack: bool = True
    """There is time enough before the next tick."""
    successor: bool = True
    """The worker named in the order follows and has applied all but the last frames."""
    turn: str = ""
    """Not a boundary yet: a turn of this name still runs."""


class Received(msgspec.Struct, frozen=True):
    """The final frame arrived, continues the chain, and is applied."""

    order: int
    leader: str


class SuccessorTook(msgspec.Struct, frozen=True):
    """The successor reports that it has the lease."""

    successor: str
    epoch: int


class SuccessorDeclined(msgspec.Struct, frozen=True):
    """The successor reports that it could not apply the final frame."""

    order: int


class LeaseTaken(msgspec.Struct, frozen=True):
    """The kernel gave us the lease; we have every frame that was ever journaled."""

    epoch: int
    cause: Cause


class LeaseRefused(msgspec.Struct, frozen=True):
    """`holder` has the lease ("" when that is not known)."""

    holder: str
    cause: Cause


class LeaderGone(msgspec.Struct, frozen=True):
    """The process of `leader` has died, or it said that it leaves."""

    leader: str


class LedBy(msgspec.Struct, frozen=True):
    """The kernel says that `leader` has the lease."""

    leader: str


class Silent(msgspec.Struct, frozen=True):
    """The leader's tick is overdue by more than the bound."""

    reason: str


class Fell(msgspec.Struct, frozen=True):
    """A handler of the bot raised, or the state could not be encoded: this process cannot go on."""

    reason: str


class SeatTimerFired(msgspec.Struct, frozen=True):
    """An alarm that was armed has run out."""

    name: str


SeatEvent = (
    Started
    | CaughtUp
    | Stale
    | StreamUnreadable
    | Boundary
    | Received
    | SuccessorTook
    | SuccessorDeclined
    | LeaseTaken
    | LeaseRefused
    | LeaderGone
    | LedBy
    | Silent
    | Fell
    | SeatTimerFired
    | Follow
    | Lead
    | YieldTo
    | CancelYield
    | Retire
    | Stop
)


# --- commands -------------------------------------------------------------------------------------------------------


class Connect(msgspec.Struct, frozen=True):
    """Follow the stream of `leader` from the last applied frame on."""

    leader: str


class TakeLease(msgspec.Struct, frozen=True):
    """Ask the kernel for the lease, then catch up with the journal; answer `LeaseTaken` or `LeaseRefused`."""

    cause: Cause


class DropLease(msgspec.Struct, frozen=True):
    """Journal what has to be journaled, then give the lease up."""


class SendFinal(msgspec.Struct, frozen=True):
    """Send the final frame, made before the lease was dropped."""

    to: str
    order: int
    deployment: int


class SendTook(msgspec.Struct, frozen=True):
    """Tell the old leader that we have the lease."""

    to: str
    order: int


class SendFailing(msgspec.Struct, frozen=True):
    """Tell all followers that this worker leaves without a successor."""

    reason: str


class StartLeading(msgspec.Struct, frozen=True):
    """We lead: run `on_lead`, then tick."""

    cause: Cause


class Announce(msgspec.Struct, frozen=True):
    """Send a `Report` to the supervisor."""


class Hold(msgspec.Struct, frozen=True):
    """Tell the supervisor what the order waits for."""

    order: int
    reason: str


class Cancel(msgspec.Struct, frozen=True):
    """Tell the supervisor that the order will not be carried out."""

    order: int


class Suspects(msgspec.Struct, frozen=True):
    """Tell the supervisor that the leader does not do its work."""

    leader: str
    reason: str


class ArmSeatTimer(msgspec.Struct, frozen=True):
    """Feed `SeatTimerFired(name)` after its time: `lease` (take it back if it is still free) or `retry`."""

    name: str


class DisarmSeatTimer(msgspec.Struct, frozen=True):
    name: str


class ExitProcess(msgspec.Struct, frozen=True):
    """Exit: `retire` (the bot goes on), `stop` (the bot ends here) or `fail`."""

    how: str
    reason: str = ""


SeatCommand = (
    Connect
    | TakeLease
    | DropLease
    | SendFinal
    | SendTook
    | SendFailing
    | StartLeading
    | Announce
    | Hold
    | Cancel
    | Suspects
    | ArmSeatTimer
    | DisarmSeatTimer
    | ExitProcess
)
