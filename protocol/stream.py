"""The messages between a leader and its followers.

A follower subscribes with what it already has. The leader answers with the frames it lacks, or, where those are gone,
with a copy of the state: `Begin`, `Rows` in bounded chunks between ticks, `End`. Frames go on while the copy is under
way, in the same order: a row is sent as it is at that moment, and later frames change it afterwards, so that when
`End` arrives the follower has the state of that boundary. The bot ticks on meanwhile.
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
    """Follower: `worker` has applied frame `number` with `digest` (-1: none); send it the frames after that."""

    worker: str
    protocol: VersionRange
    schema: Schema
    number: int
    digest: bytes
    pid: int = 0
    """By which the leader notices the death of its successor."""


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """Follower: has applied up to frame `number` and, of a copy under way, `chunk` chunks."""

    number: int
    chunk: int
    needs: int = 0
    """How long its bot needs to bring what it derives from the state up to date, ns."""


class Offer(msgspec.Struct, frozen=True, tag="offer"):
    """Follower: has received these events; the leader applies them, once."""

    items: list[Item]


class Trial(msgspec.Struct, frozen=True, tag="trial"):
    """Follower on newer code: how the state would look after the handoff, for the leader to try to read.

    `changes` is every cell and a few rows of each table, in `schema`, translated for the receiver where there is a
    down-migration. The receiver decodes it and throws it away.
    """

    schema: Schema
    changes: Changes


class Took(msgspec.Struct, frozen=True, tag="took"):
    """Successor: has the lease."""

    epoch: int
    order: int


class Declined(msgspec.Struct, frozen=True, tag="declined"):
    """Successor: could not take over; the leader takes the lease back."""

    order: int
    reason: str


class Braced(msgspec.Struct, frozen=True, tag="braced"):
    """Successor: has received everything that was sent, and watches for the final frame of this order."""

    order: int


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Leader: a copy of the state begins; `position` is the end of the journal."""

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
    """Leader: a decision was opened, or closed (`closed` is its id). The journal has that already."""

    opened: Opened | None = None
    closed: str = ""


class Final(msgspec.Struct, frozen=True, tag="final"):
    """Leader: the last frame of its epoch; the lease is free for the successor. `pending` is the rest of its inbox."""

    order: int
    deployment: int
    body: bytes
    position: Position
    pending: list[Item]
    aside: tuple[str, ...] = ()
    """The keys in `pending` that are not in line, as in a frame."""


class Brace(msgspec.Struct, frozen=True, tag="brace"):
    """Leader: the next boundary may be the last of its epoch. Answer, and watch for the final frame.

    A release that does not know this message ignores it, and gets the final frame nevertheless.
    """

    order: int


class Failing(msgspec.Struct, frozen=True, tag="failing"):
    """Leader: leaves without a successor; the lease is free."""

    reason: str


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """Leader: the answer to a `Trial`: empty if readable, else why not."""

    problem: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Leader: cannot serve this follower, and the reason."""

    reason: str


FollowerMessage = Subscribe | Ack | Offer | Trial | Took | Declined | Braced
LeaderMessage = (
    Begin | RowsSent | End | FrameSent | DecisionNoted | Final | Failing | Verdict | Refused | Brace
)

follower_codec: MessageCodec[FollowerMessage] = MessageCodec(FollowerMessage, "a follower's message")
leader_codec: MessageCodec[LeaderMessage] = MessageCodec(LeaderMessage, "a leader's message")
