"""What a leader and its followers say to each other.

A follower subscribes with what it already has. The leader answers with the frames it lacks, or, where those are gone,
with a copy of the state: `Begin`, `Rows` in bounded chunks between ticks, `End`. Frames go on while the copy is under
way, in the same order: a row is sent as it is at that moment, and later frames change it afterwards, so that when
`End` arrives the follower has the state of that boundary. Nothing has to stand still for it.
"""

from __future__ import annotations

import msgspec

from .frame import Changes, Item, Schema
from .journal import Opened, Position, Snapshot
from .wire import MessageCodec, VersionRange

__all__ = [
    "Ack",
    "Begin",
    "Brace",
    "Braced",
    "DecisionNoted",
    "Declined",
    "End",
    "Failing",
    "Final",
    "FollowerMessage",
    "FrameSent",
    "LeaderMessage",
    "Offer",
    "Refused",
    "RowsSent",
    "Subscribe",
    "Took",
    "Trial",
    "Verdict",
    "follower_codec",
    "leader_codec",
]


class Subscribe(msgspec.Struct, frozen=True, tag="subscribe"):
    """Follower: I am `worker` and have applied frame `number` with `digest` (-1: nothing); send me what comes after."""

    worker: str
    protocol: VersionRange
    schema: Schema
    number: int
    digest: bytes
    pid: int = 0
    """For the leader to notice the death of its successor."""


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """Follower: applied up to frame `number` and, of a copy under way, `chunk` chunks."""

    number: int
    chunk: int


class Offer(msgspec.Struct, frozen=True, tag="offer"):
    """Follower: I received these; the leader applies them, once."""

    items: list[Item]


class Trial(msgspec.Struct, frozen=True, tag="trial"):
    """Follower on newer code: this is how the state would look after the handoff. Could you read it?

    `changes` is every cell and a few rows of each table, in `schema`, translated for the receiver where there is a
    down-migration. The receiver decodes it and throws it away.
    """

    schema: Schema
    changes: Changes


class Took(msgspec.Struct, frozen=True, tag="took"):
    """Successor: I have the lease."""

    epoch: int
    order: int


class Declined(msgspec.Struct, frozen=True, tag="declined"):
    """Successor: I could not take over, keep it."""

    order: int
    reason: str


class Braced(msgspec.Struct, frozen=True, tag="braced"):
    """Successor: I have received all that you sent, and watch for the final frame of this order."""

    order: int


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Leader: a copy of the state begins; `position` is where the journal stands."""

    head: Snapshot
    position: Position


class RowsSent(msgspec.Struct, frozen=True, tag="rows"):
    """Leader: chunk number `chunk` of a copy (counted from 1)."""

    chunk: int
    table: str
    rows: list[tuple[bytes, bytes]]


class End(msgspec.Struct, frozen=True, tag="end"):
    """Leader: the copy is complete as of frame `number`."""

    number: int


class FrameSent(msgspec.Struct, frozen=True, tag="frame"):
    """Leader: the next frame.

    `position` is the end of its record in the journal. `translated` replaces the frame's changes for a follower that
    needs them in an older schema.
    """

    body: bytes
    position: Position
    translated: Changes | None = None


class DecisionNoted(msgspec.Struct, frozen=True, tag="decision"):
    """Leader: a decision was opened, or (`closed`, an id) closed. The journal has it already."""

    opened: Opened | None = None
    closed: str = ""


class Final(msgspec.Struct, frozen=True, tag="final"):
    """Leader: the last frame of my epoch; the lease is free; it is yours. `pending` is what my inbox still holds."""

    order: int
    deployment: int
    body: bytes
    position: Position
    pending: list[Item]


class Brace(msgspec.Struct, frozen=True, tag="brace"):
    """Leader: the next boundary may be the last of my epoch. Answer, and watch for the final frame.

    Who does not know this message passes over it, and gets the final frame all the same.
    """

    order: int


class Failing(msgspec.Struct, frozen=True, tag="failing"):
    """Leader: I am leaving without a successor; the lease is free."""

    reason: str


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """Leader: the answer to a `Trial`: empty when readable, else why not."""

    problem: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Leader: I cannot serve you; why."""

    reason: str


FollowerMessage = Subscribe | Ack | Offer | Trial | Took | Declined | Braced
LeaderMessage = (
    Begin | RowsSent | End | FrameSent | DecisionNoted | Final | Failing | Verdict | Refused | Brace
)

follower_codec: MessageCodec[FollowerMessage] = MessageCodec(FollowerMessage, "a follower's message")
leader_codec: MessageCodec[LeaderMessage] = MessageCodec(LeaderMessage, "a leader's message")
