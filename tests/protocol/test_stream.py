"""Leader and follower: every message, and everything that is none."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol import stream
from neverblink.protocol.journal import Position
from neverblink.protocol.wire import MessageCodec, WireError

from .codecs import damaged, garbage, kinds, messages, tag_of

CODECS: list[tuple[MessageCodec[Any], Any]] = [
    (stream.leader_codec, stream.LeaderMessage),
    (stream.follower_codec, stream.FollowerMessage),
]
both = pytest.mark.parametrize(("codec", "union"), CODECS, ids=["leader", "follower"])
each = pytest.mark.parametrize(
    ("codec", "kind"),
    [(codec, kind) for codec, union in CODECS for kind in kinds(union)],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)


@each
@settings(max_examples=10)
@given(data=st.data())
def test_every_message_comes_back(
    codec: MessageCodec[Any], kind: type[msgspec.Struct], data: st.DataObject
) -> None:
    message = data.draw(messages(kind))
    assert codec.decode(codec.encode(message)) == message


@both
@settings(max_examples=50)
@given(data=st.data())
def test_garbage_never_raises_anything_but_wire_error(
    codec: MessageCodec[Any], union: Any, data: st.DataObject
) -> None:
    body = data.draw(garbage | damaged(messages(union).map(codec.encode)))
    with suppress(WireError):
        assert isinstance(codec.decode(body), tuple(kinds(union)))


def test_tags_of_messages_are_unique() -> None:
    tags = [tag_of(kind) for _, union in CODECS for kind in kinds(union)]
    assert len(tags) == len(set(tags))


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
