"""The messages between a feed's process and those that connect to it, and how they are framed in a byte stream.

The socket is a Unix stream socket. A message is its length in four bytes, big-endian, and one msgpack value. A
subscriber says up to where it has the feed, and gets `Welcome` and then every event after that, in order, as long as it
reads. There are no acknowledgements: a subscriber that does not read fills the kernel's buffer, the feed sends it
nothing more, and when it reads again it continues in the replay buffer.

A supervisor connects as well, with `FeedWatch`, and gets a `FeedReport` at once and then regularly. So a feed needs no
connection to a supervisor, and outlives it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .feed_queue import FeedEntry
from .keys import derive
from .wire import MAX_MESSAGE, MessageCodec, VersionRange, WireError

__all__ = [
    "LENGTH",
    "FeedDeclined",
    "FeedEvents",
    "FeedMessage",
    "FeedReport",
    "FeedStream",
    "FeedSubscribe",
    "FeedWatch",
    "FeedWelcome",
    "SubscriberMessage",
    "encode_events",
    "feed_codec",
    "feed_key",
    "feed_socket",
    "framed",
    "subscriber_codec",
]

LENGTH = 4
"""Bytes of a message's length."""

SUBSCRIBER_LIMIT = 64 * 1024
"""The largest message to a feed."""


class FeedSubscribe(msgspec.Struct, frozen=True, tag="feed-subscribe"):
    """Subscriber: send everything after number `n` of `run`; run 0 is before all runs."""

    key: bytes
    """That of the feed: see `feed_key`."""
    subscriber: str
    """Its name, for people: a worker's id."""
    run: int = 0
    n: int = 0
    protocol: VersionRange = VersionRange(1, 1)


class FeedWatch(msgspec.Struct, frozen=True, tag="feed-watch"):
    """Supervisor: send reports."""

    key: bytes


class FeedWelcome(msgspec.Struct, frozen=True, tag="feed-welcome"):
    """Feed: events follow, from number `first` of `run` on."""

    run: int
    first: int
    last: int
    """The newest number that was published, 0 before the first."""
    before: tuple[int, int] | None = None
    """The run before this one and its last number, None when that is not known."""


class FeedEvents(msgspec.Struct, frozen=True, tag="feed-events"):
    """Feed: events with the numbers `first`, `first + 1`, ... of the run in `FeedWelcome`.

    When `first` is not the number after the last one that was sent, those in between are no longer there.
    """

    first: int
    events: list[FeedEntry]


class FeedReport(msgspec.Struct, frozen=True, tag="feed-report"):
    """Feed, to a supervisor: its present state. Times in ns, wall clock."""

    feed: str
    pid: int
    release: str
    run: int
    n: int
    """The newest number."""
    at: int
    """When it was published; 0 before the first."""
    began: int
    """When the author's function was called."""
    size: int = 0
    """Bytes in the replay buffer."""
    first: int = 1
    """The oldest number in the replay buffer."""
    subscribers: tuple[str, ...] = ()
    behind: int = 0
    """How many events the subscriber that is farthest behind has not been sent."""
    overrun: int = 0
    """Events that a subscriber had not been sent when they left the replay buffer, so far."""
    refused: int = 0
    """Events that could not be encoded, so far."""
    blackout: int = 0
    """From the end of the function in the process before to its beginning in this one; 0 when that is not known."""


class FeedDeclined(msgspec.Struct, frozen=True, tag="feed-declined"):
    """Feed: does not serve this connection, and why. It closes it."""

    reason: str


SubscriberMessage = FeedSubscribe | FeedWatch
FeedMessage = FeedWelcome | FeedEvents | FeedReport | FeedDeclined

subscriber_codec: MessageCodec[SubscriberMessage] = MessageCodec(
    SubscriberMessage, "a subscriber's message", SUBSCRIBER_LIMIT
)
feed_codec: MessageCodec[FeedMessage] = MessageCodec(FeedMessage, "a feed's message")


class _RawEvents(msgspec.Struct, tag="feed-events"):
    first: int
    events: list[msgspec.Raw]


_raw_encoder = msgspec.msgpack.Encoder()


def encode_events(first: int, entries: Iterable[bytes]) -> bytes:
    """The framed `FeedEvents` of entries that are encoded already."""
    return framed(_raw_encoder.encode(_RawEvents(first, [msgspec.Raw(entry) for entry in entries])))


def framed(message: bytes) -> bytes:
    """The message as it goes into the stream."""
    return len(message).to_bytes(LENGTH, "big") + message


class FeedStream:
    """Cuts a byte stream into messages. A message that is longer than `limit` raises `WireError`."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes that have arrived; return the messages that are complete."""
        rest = self._rest
        rest += data
        messages: list[bytes] = []
        at = 0
        available = len(rest)
        while available - at >= LENGTH:
            length = int.from_bytes(rest[at : at + LENGTH], "big")
            if length > self._limit:
                raise WireError("a feed's stream", f"a message of {length} bytes, at most {self._limit}")
            end = at + LENGTH + length
            if end > available:
                break
            messages.append(bytes(rest[at + LENGTH : end]))
            at = end
        del rest[:at]
        return messages


def feed_key(links: bytes, feed: str) -> bytes:
    """The key of a feed, from the secret that the processes of a home share."""
    return derive(links, "feed", feed)


def feed_socket(feed: str) -> str:
    """The name of a feed's socket in the home's `run/`."""
    return f"feed-{feed}.sock"
