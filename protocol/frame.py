"""Frames: the unit of the state stream, and the changes of the state in them.

Every turn of the leader ends in a frame, so the state after a frame is always consistent. Frames are numbered without
gaps and chained: each has the digest of the frame before, and its own digest covers all of its encoded bytes, including
that one. Two processes with the same digest have applied the same frames from the same beginning.

A frame is encoded once. The same bytes go to the followers, into the journal and through the digest.

A state consists of *cells* (the fields of its root, each encoded whole) and *tables* (of which only changed rows are
sent). Both are already encoded here: code that passes changes on need not know the bot's types.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Literal

import msgspec

from .feed_position import FeedPosition, FeedRange
from .grid import ClockStep, Gap, LostTime
from .wire import MessageCodec

__all__ = [
    "COMMAND",
    "GENESIS",
    "NOTHING",
    "Armed",
    "Cause",
    "Changes",
    "Frame",
    "Item",
    "Kind",
    "Led",
    "NumberGap",
    "Schema",
    "Timing",
    "Traffic",
    "Vitals",
    "Yielded",
    "decode_frame",
    "digest_of",
    "encode_frame",
]


class Schema(msgspec.Struct, frozen=True, array_like=True):
    """The shape of a state: the version its author gave it, and a fingerprint of its field names and types.

    The version selects migrations. The fingerprint distinguishes two shapes of one version; it is the same on every
    supported Python. "" means unknown.
    """

    version: int
    fingerprint: str


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """What changed since the boundary before.

    `cells`: name to msgpack bytes; a state that is a single value, not a record, is the one cell "". `tables`: name
    to `(key, row)` in msgpack, in the order in which they are to be applied; a row of None is deleted.

    The cells are `bytes` and not `msgspec.Raw`: measured on ten cells and ten rows, `bytes` is made and
    decoded in a bit over half the time, encodes as fast, and does not keep the whole message it came in
    alive.
    """

    cells: dict[str, bytes]
    tables: dict[str, list[tuple[bytes, bytes | None]]]

    def __bool__(self) -> bool:
        return bool(self.cells or self.tables)


NOTHING = Changes({}, {})
"""A turn that changed nothing. Shared: do not fill it."""


Kind = Literal["tick", "event", "timer", "command", "lead", "yield", "stop", "reset"]
"""What made the frame. The first four are turns of the bot's own; `lead` opens an epoch (the bot's `on_lead` ran in
it), `yield` closes one, `stop` ends the bot, and `reset` carries the whole state again."""

Cause = Literal["first", "handoff", "takeback", "failover"]
"""How a worker came to lead: as the first, by a planned transfer, because its successor did not take over, or because
the leader before it died."""

COMMAND = "command/"
"""What the key of an operator's command begins with in the inbox, and in the journal the record that it was begun."""

GENESIS = bytes(16)
"""The digest before the first frame."""


class Timing(msgspec.Struct, frozen=True, array_like=True):
    """When the turn was and how it went; all in nanoseconds."""

    due: int = 0
    """Wall clock: when it should have begun. For events, when the event was received."""
    late: int = 0
    """How long after `due` it began."""
    took: int = 0
    """How long it ran, up to its boundary."""
    ended: int = 0
    """Wall clock at the boundary."""
    mono: int = 0
    """CLOCK_MONOTONIC at the boundary: comparable between processes of one host."""
    gaps: tuple[Gap, ...] = ()
    """Grid indices before this tick that did not run."""
    step: ClockStep | None = None
    """The wall clock was found stepped before this turn."""
    ahead: int = 0
    """Of a tick: by how many indices the grid is ahead of the wall clock: `due` is `(seq - ahead)` intervals."""
    heartbeat: bool = False
    """Of a tick: no code of the bot ran. An event-driven bot has these frames where others have ticks."""


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something in the inbox: an event of the bot's, or an operator's command, waiting for a turn of its own."""

    key: str
    kind: Literal["event", "command"]
    data: bytes
    """msgpack of the event, or of the command's `(name, args)`."""
    at: int
    """Wall clock of the first receipt, ns."""
    stream: str = ""
    """What the event is one of, such as a market's trades."""
    n: int | None = None
    """Its number in the stream, None when it has none."""


class NumberGap(msgspec.Struct, frozen=True, array_like=True):
    """Numbers of a stream that did not come within the bound; an event after them was applied."""

    stream: str
    first: int
    last: int


class Armed(msgspec.Struct, frozen=True, array_like=True):
    """A timer that waits: due at a wall-clock time (ns), and again each `every` ns when that is not zero."""

    due: int
    every: Annotated[int, msgspec.Meta(ge=0)] = 0


class Traffic(msgspec.Struct, frozen=True, array_like=True):
    """What the inbox saw since the frame before: keys received, keys applied, keys dropped as already applied."""

    received: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    repeated: int = 0
    waiting: tuple[Item, ...] = ()
    """What was received and still waits: if every process dies now, it is not lost."""
    aside: tuple[str, ...] = ()
    """The keys in `received` that are not in line yet: they wait for a number, or only a follower has received them.
    They are in `received` again when they come into line."""
    dropped: tuple[str, ...] = ()
    """Keys dropped because the inbox was full."""
    numbers: dict[str, tuple[tuple[int, int], ...]] = {}
    """Streams of which events were applied, with all of their numbers applied so far, as ranges."""
    gaps: tuple[NumberGap, ...] = ()
    """Numbers that were given up with this frame."""
    feeds: tuple[FeedRange, ...] = ()
    """The events of feeds that were applied, by number only: the feed still has their data."""


class Led(msgspec.Struct, frozen=True, tag="led", array_like=True):
    """In a `lead` frame: who leads from here on, and how it came to that."""

    worker: str
    release: str
    cause: Cause
    before: str = ""
    """The worker that led before. With the cause `first`: the one that died, "" when the bot was stopped, or is new."""
    order: int = 0
    deployment: int = 0
    """The number of the deployment this transfer belongs to, 0 without one."""
    blackout: int = 0
    """From the instant the old leader could no longer tick to the instant this one could, ns; 0 when unknown."""
    in_doubt: tuple[str, ...] = ()
    """Ids of the decisions that a dead leader left open."""


class Yielded(msgspec.Struct, frozen=True, tag="yielded", array_like=True):
    """In a `yield` frame: to whom, by which order, and when (CLOCK_MONOTONIC, ns) the leader could no longer tick."""

    to: str
    order: int
    mono: int


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One step of the state stream: what changed between two boundaries, and what happened in between."""

    epoch: int
    number: int
    """Counts frames without gaps over the whole life of the bot."""
    seq: int
    """The grid index of the last tick that ran, this one included."""
    kind: Kind
    schema: Schema
    prev: bytes
    """The digest of frame `number - 1`."""
    timing: Timing
    changes: Changes
    traffic: Traffic = Traffic()
    timers: dict[str, Armed | None] = {}
    """Timers armed, or with None removed, since the frame before."""
    paused: bool | None = None
    """The new value when it changed."""
    about: Led | Yielded | None = None
    settings: bytes | None = None
    """All that operators have set, when it changed: a msgpack map from a setting's name to its value."""


class Vitals(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot holds beside the bot's own state."""

    timers: dict[str, Armed] = {}
    paused: bool = False
    applied: tuple[tuple[str, int], ...] = ()
    """Keys remembered as applied, oldest first, with the wall clock (ns) of their turn."""
    due: int = 0
    """When the last tick was due, wall ns, 0 when none ever ran: the next release may tick on another grid."""
    waiting: tuple[Item, ...] = ()
    """What the inbox holds."""
    settings: bytes = b""
    """What operators have set, as in a frame; empty when nothing ever was."""
    ahead: int = 0
    """By how many indices the grid is ahead of the wall clock, as in the last tick's frame."""
    lost: tuple[LostTime, ...] = ()
    """The times since the last tick in which no tick could run, oldest first."""
    aside: tuple[str, ...] = ()
    """The keys in `waiting` that are not in line, as in a frame."""
    numbers: dict[str, tuple[tuple[int, int], ...]] = {}
    """The numbers applied of each stream, as in a frame."""
    feeds: dict[str, FeedPosition] = {}
    """Up to where the bot has applied each feed."""


_codec: MessageCodec[Frame] = MessageCodec(Frame, "a frame")


encode_frame = _codec.encode
"""Return the bytes of a frame, which are sent, journaled and digested."""


def decode_frame(body: bytes | memoryview) -> Frame:
    """Return the frame in `body`; raise `WireError` when it is none."""
    return _codec.decode(body)


def digest_of(body: bytes | memoryview) -> bytes:
    """Return the 16-byte chain digest of an encoded frame (BLAKE2b, RFC 7693)."""
    return blake2b(body, digest_size=16).digest()
