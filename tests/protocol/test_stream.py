"""Leader and follower: every message, and everything that is none."""

from __future__ import annotations

import msgspec
import pytest

from neverblink.protocol import stream
from neverblink.protocol.journal import Position
from neverblink.protocol.wire import WireError


def test_a_followers_message_is_refused_from_a_leader() -> None:
    with pytest.raises(WireError, match="a leader's message: Invalid value 'ack'"):
        stream.leader_codec.decode(stream.follower_codec.encode(stream.Ack(1, 0)))


def test_a_frame_is_sent_as_the_bytes_of_its_digest() -> None:
    """The body is opaque here: passing a frame on can't change what its digest is taken over."""
    body = b"whatever these are"
    sent = stream.FrameSent(body, Position(1, 99))
    found = stream.leader_codec.decode(stream.leader_codec.encode(sent))
    assert isinstance(found, stream.FrameSent)
    assert found.body == body


def test_a_subscription_of_a_newer_release_may_have_more_fields() -> None:
    raw = {
        "type": "subscribe",
        "worker": "w",
        "protocol": [3, 4],
        "schema": [1, "abc", "more"],
        "number": -1,
        "digest": bytes(16),
        "compression": "zstd",
    }
    found = stream.follower_codec.decode(msgspec.msgpack.encode(raw))
    assert isinstance(found, stream.Subscribe)
    assert found.protocol.newest == 4
    assert found.pid == 0
