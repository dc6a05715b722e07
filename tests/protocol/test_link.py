"""Worker and supervisor: every message, and everything that is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol import link
from neverblink.protocol.frame import Schema
from neverblink.protocol.wire import MessageCodec, VersionRange, WireError

from ..hypothesis_profile import examples
from .codecs import kinds, messages, tag_of


@pytest.mark.parametrize(
    ("codec", "kind"),
    [
        (codec, kind)
        for codec, union in (
            (link.worker_codec, link.WorkerMessage),
            (link.supervisor_codec, link.SupervisorMessage),
        )
        for kind in kinds(union)
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
@settings(max_examples=examples(5))
@given(data=st.data())
def test_every_message_is_a_map_with_its_tag(
    codec: MessageCodec[Any], kind: type[msgspec.Struct], data: st.DataObject
) -> None:
    raw = msgspec.msgpack.decode(codec.encode(data.draw(messages(kind))))
    assert raw["type"] == tag_of(kind)
    assert raw.keys() == {"type", *kind.__struct_fields__}


def test_a_message_from_the_wrong_side_is_refused() -> None:
    with pytest.raises(WireError, match="a worker's message: Invalid value 'lead'"):
        link.worker_codec.decode(link.supervisor_codec.encode(link.Lead()))
    with pytest.raises(WireError, match="the supervisor's message: Invalid value 'ready'"):
        link.supervisor_codec.decode(link.worker_codec.encode(link.Ready(1, 2)))


def test_an_unknown_role_is_refused() -> None:
    report = msgspec.msgpack.encode({"type": "report", "role": "emperor"})
    with pytest.raises(WireError, match=r"Invalid enum value 'emperor' - at `\$.role`"):
        link.worker_codec.decode(report)


def test_a_hello_of_another_protocol_can_be_read_and_answered() -> None:
    """Whatever a later protocol adds: the range of a stranger must be known before it can be turned away."""
    hello = link.Hello("b", "w", 1, 2, VersionRange(7, 9), "r", Schema(1, ""), 1, (), "3.11", "9.0")
    raw: dict[str, Any] = msgspec.msgpack.decode(link.worker_codec.encode(hello))
    raw |= {"colour": "green", "protocol": [7, 9, "experimental"]}
    assert link.worker_codec.decode(msgspec.msgpack.encode(raw)) == hello


@pytest.mark.parametrize("interval", [-1, -(2**63)])
def test_a_hello_with_a_negative_interval_is_refused(interval: int) -> None:
    hello = link.Hello("b", "w", 1, 2, VersionRange(1, 1), "r", Schema(1, ""), 1, (), "3.11", "9.0")
    raw: dict[str, Any] = msgspec.msgpack.decode(link.worker_codec.encode(hello))
    with pytest.raises(WireError):
        link.worker_codec.decode(msgspec.msgpack.encode(raw | {"interval": interval}))


def test_a_message_above_the_limit_is_refused_undecoded() -> None:
    with pytest.raises(WireError, match=f"at most {link.LINK_LIMIT}"):
        link.worker_codec.decode(bytes(link.LINK_LIMIT + 1))
