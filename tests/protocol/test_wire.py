"""The codec's promise: a message of its family, or `WireError`, whatever the bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.wire import MessageCodec, WireError

from .codecs import anything, damaged, garbage


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    at: int


class Note(msgspec.Struct, frozen=True, tag="note"):
    value: Any
    by: str = ""


codec: MessageCodec[Ping | Note] = MessageCodec(Ping | Note, "a note", limit=4096)
notes = st.builds(Note, anything, st.text(max_size=20)) | st.builds(Ping, st.integers(-(2**63), 2**63))


def put(value: bytes) -> bytes:
    """A note with `value`, which is msgpack."""
    return b"\x82\xa4type\xa4note\xa5value" + value


@given(notes)
def test_a_message_comes_back(note: Ping | Note) -> None:
    assert codec.decode(codec.encode(note)) == note
    assert codec.decode(memoryview(codec.encode(note))) == note


@given(garbage | damaged(notes.map(codec.encode)))
def test_garbage_never_raises_anything_but_wire_error(data: bytes) -> None:
    with suppress(WireError):
        assert isinstance(codec.decode(data), (Ping, Note))


@pytest.mark.parametrize(
    "value",
    [
        b"\xa1\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\x80\x01",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\xc1",
        b"\xc0\xc0",
        b"",
    ],
    ids=["not utf-8", "array", "map", "binary", "map key", "timestamp", "unknown tag", "trailing", "empty"],
)
def test_harmful_bytes_are_refused_with_a_reason(value: bytes) -> None:
    with pytest.raises(WireError, match=r"^a note: .") as caught:
        codec.decode(put(value))
    assert isinstance(caught.value, NeverblinkError)
    assert caught.value.what == "a note"


@pytest.mark.parametrize("level", [b"\x91", b"\x81\xa1a"], ids=["arrays", "maps"])
def test_nesting_is_refused_before_the_stack_ends(level: bytes) -> None:
    # Deeper than any Python lets a decoder go, each by a bound of its own.
    wide: MessageCodec[Ping | Note] = MessageCodec(Ping | Note, "a note")
    with pytest.raises(WireError, match="nested too deeply"):
        wide.decode(put(level * 200_000))


def test_an_unknown_message_is_refused_by_name() -> None:
    with pytest.raises(WireError, match="Invalid value 'pong'"):
        codec.decode(msgspec.msgpack.encode({"type": "pong", "at": 1}))
    with pytest.raises(WireError, match="missing required field `type`"):
        codec.decode(msgspec.msgpack.encode({"at": 1}))


def test_a_field_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(WireError, match=r"Expected `int`, got `str` - at `\$.at`"):
        codec.decode(msgspec.msgpack.encode({"type": "ping", "at": "now"}))


def test_a_message_of_a_newer_release_may_have_more_fields() -> None:
    data = msgspec.msgpack.encode({"type": "ping", "at": 1, "mood": [{"nested": True}]})
    assert codec.decode(data) == Ping(1)


def test_a_message_of_an_older_release_may_have_fewer_fields() -> None:
    assert codec.decode(msgspec.msgpack.encode({"type": "note", "value": 1})) == Note(1, "")


def test_the_largest_message_is_read_and_one_byte_more_is_refused_undecoded() -> None:
    room = 4096 - len(codec.encode(Note(b"x" * 300))) + 300
    assert len(codec.encode(Note(b"x" * room))) == 4096
    assert codec.decode(codec.encode(Note(b"x" * room))) == Note(b"x" * room)
    with pytest.raises(WireError, match="4097 bytes, at most 4096 are accepted"):
        codec.decode(codec.encode(Note(b"x" * (room + 1))))
    with pytest.raises(WireError, match="at most 4096"):
        codec.decode(bytes(5000))
