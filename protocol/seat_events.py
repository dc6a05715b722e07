"""The events and commands of `seat`: the input from its driver, and what the driver has to do."""

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
    "YieldRefused",
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
    """This follower has lost frames of the stream and needs a new copy."""


class StreamUnreadable(msgspec.Struct, frozen=True):
    """This follower cannot read the stream at all, and the reason."""

    reason: str


class Boundary(msgspec.Struct, frozen=True):
    """A turn has ended, or time passed between two turns. The fields are what may keep the leader from yielding."""

    decision: str = ""
    """The name of an open decision."""
    window: str = ""
    """The name of a protected window that is open now."""
    slack: bool = True
    """There is time enough before the next tick."""
    successor: bool = True
    """The worker named in the order follows and has applied all but the last frames."""
    turn: str = ""
    """The name of a turn that still runs: then it is not a boundary yet."""
    task: str = ""
    """A task or thread of the bot that must end before another worker leads, and has not."""


class YieldRefused(msgspec.Struct, frozen=True):
    """Order `order` cannot be carried out, although nothing else keeps this worker from it, because of `reason`."""

    order: int
    reason: str


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
    """This worker has the lease, and every frame that was ever journaled."""

    epoch: int
    cause: Cause


class LeaseRefused(msgspec.Struct, frozen=True):
    """`holder` has the lease; "" if the holder is not known."""

    holder: str
    cause: Cause


class LeaderGone(msgspec.Struct, frozen=True):
    """The process of `leader` has died, or has announced that it leaves."""

    leader: str


class LedBy(msgspec.Struct, frozen=True):
    """According to the kernel, `leader` has the lease."""

    leader: str


class Silent(msgspec.Struct, frozen=True):
    """The leader's tick is overdue by more than the bound."""

    reason: str


class Fell(msgspec.Struct, frozen=True):
    """A handler of the bot raised, or the state could not be encoded: this process cannot go on."""

    reason: str


class SeatTimerFired(msgspec.Struct, frozen=True):
    """A timer that was armed has run out."""

    name: str


SeatEvent = (
    Started
    | CaughtUp
    | Stale
    | StreamUnreadable
    | Boundary
    | YieldRefused
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
    """Request the lease from the kernel, then catch up with the journal; feed `LeaseTaken` or `LeaseRefused`."""

    cause: Cause


class DropLease(msgspec.Struct, frozen=True):
    """Journal what is not journaled yet, then give the lease up."""


class SendFinal(msgspec.Struct, frozen=True):
    """Send the final frame, made before the lease was dropped."""

    to: str
    order: int
    deployment: int


class SendTook(msgspec.Struct, frozen=True):
    """Tell the old leader that this worker has the lease."""

    to: str
    order: int


class SendFailing(msgspec.Struct, frozen=True):
    """Tell all followers that this worker leaves without a successor."""

    reason: str


class StartLeading(msgspec.Struct, frozen=True):
    """This worker leads: run `on_lead`, then tick."""

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
    """Tell the supervisor that the leader does not work."""

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
