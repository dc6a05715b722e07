"""The codecs of all messages between processes: every message survives them, and garbage is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol import link, stream
from neverblink.protocol.wire import MessageCodec, WireError

from ..hypothesis_profile import examples
from .codecs import damaged, garbage, kinds, messages, tag_of

CODECS: dict[str, tuple[MessageCodec[Any], Any]] = {
    "worker": (link.worker_codec, link.WorkerMessage),
    "supervisor": (link.supervisor_codec, link.SupervisorMessage),
    "leader": (stream.leader_codec, stream.LeaderMessage),
    "follower": (stream.follower_codec, stream.FollowerMessage),
}


@pytest.mark.parametrize(
    ("codec", "kind"),
    [(codec, kind) for codec, union in CODECS.values() for kind in kinds(union)],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
@settings(max_examples=examples(10))
@given(data=st.data())
def test_every_message_comes_back(
    codec: MessageCodec[Any], kind: type[msgspec.Struct], data: st.DataObject
) -> None:
    message = data.draw(messages(kind))
    assert codec.decode(codec.encode(message)) == message


@pytest.mark.parametrize(("codec", "union"), CODECS.values(), ids=CODECS)
@settings(max_examples=examples(50))
@given(data=st.data())
def test_garbage_never_raises_anything_but_wire_error(
    codec: MessageCodec[Any], union: Any, data: st.DataObject
) -> None:
    body = data.draw(garbage | damaged(messages(union).map(codec.encode)))
    with suppress(WireError):
        assert isinstance(codec.decode(body), tuple(kinds(union)))


@pytest.mark.parametrize("sides", [("worker", "supervisor"), ("leader", "follower")])
def test_tags_of_messages_are_unique_between_two_sides(sides: tuple[str, str]) -> None:
    tags = [tag_of(kind) for side in sides for kind in kinds(CODECS[side][1])]
    assert len(tags) == len(set(tags))
