"""Frames: their bytes, and the chain that proves where a state came from."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.frame import (
    GENESIS,
    NOTHING,
    Armed,
    Changes,
    Frame,
    Led,
    Schema,
    Timing,
    Traffic,
    Yielded,
    decode_frame,
    digest_of,
    encode_frame,
)
from neverblink.protocol.wire import WireError

from .codecs import damaged, garbage, messages

frames: st.SearchStrategy[Frame] = messages(Frame)


def chain(length: int) -> list[bytes]:
    """Encoded frames, each naming the one before it."""
    bodies: list[bytes] = []
    digest = GENESIS
    for number in range(length):
        changes = Changes({"last": msgspec.msgpack.encode(number)}, {})
        frame = Frame(1, number, number, "tick", Schema(1, "f"), digest, Timing(due=number), changes)
        bodies.append(encode_frame(frame))
        digest = digest_of(bodies[-1])
    return bodies


def follows(bodies: list[bytes]) -> bool:
    """Whether these are consecutive frames of one chain."""
    decoded = [decode_frame(body) for body in bodies]
    return all(
        after.number == before.number + 1 and after.prev == digest_of(body)
        for (before, after), body in zip(pairwise(decoded), bodies, strict=False)
    )


@given(frames)
def test_every_frame_comes_back(frame: Frame) -> None:
    assert decode_frame(encode_frame(frame)) == frame
    assert decode_frame(memoryview(encode_frame(frame))) == frame


@given(garbage | damaged(frames.map(encode_frame)))
def test_garbage_never_raises_anything_but_wire_error(data: bytes) -> None:
    with suppress(WireError):
        assert isinstance(decode_frame(data), Frame)


def test_the_digest_is_blake2b_of_the_body_in_16_bytes() -> None:
    # RFC 7693, with another output length: the length is hashed too, so this is not a prefix of BLAKE2b-512.
    assert digest_of(b"abc").hex() == "cf4ab791c62b8d2b2109c90275287816"
    assert digest_of(memoryview(b"abc")) == blake2b(b"abc", digest_size=16).digest()
    assert len(GENESIS) == 16


def test_the_chain_continues() -> None:
    assert decode_frame(chain(1)[0]).prev == GENESIS
    assert follows(chain(5))


@given(st.integers(0, 3), st.data())
def test_the_chain_detects_any_altered_frame(which: int, data: st.DataObject) -> None:
    bodies = chain(5)
    bit = data.draw(st.integers(0, len(bodies[which]) * 8 - 1))
    altered = bytearray(bodies[which])
    altered[bit // 8] ^= 1 << bit % 8
    assert decode_frame(bodies[which + 1]).prev == digest_of(bodies[which])
    assert decode_frame(bodies[which + 1]).prev != digest_of(bytes(altered))


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_the_chain_detects_a_lost_frame_and_a_swapped_pair(missing: int) -> None:
    bodies = chain(5)
    assert not follows(bodies[:missing] + bodies[missing + 1 :])
    bodies[missing], bodies[missing - 1] = bodies[missing - 1], bodies[missing]
    assert not follows(bodies)


def test_a_frame_of_a_newer_release_may_be_longer() -> None:
    frame = Frame(1, 0, 7, "tick", Schema(1, "f"), GENESIS, Timing(), NOTHING)
    raw: list[Any] = msgspec.msgpack.decode(encode_frame(frame))
    assert decode_frame(msgspec.msgpack.encode([*raw, "more", {"of": "it"}])) == frame


def test_a_frame_may_end_where_only_defaults_follow() -> None:
    frame = Frame(1, 0, 7, "tick", Schema(1, "f"), GENESIS, Timing(), NOTHING)
    raw: list[Any] = msgspec.msgpack.decode(encode_frame(frame))
    assert decode_frame(msgspec.msgpack.encode(raw[:8])) == frame
    with pytest.raises(WireError, match="length 8"):
        decode_frame(msgspec.msgpack.encode(raw[:7]))


def test_a_frames_kind_is_decoded_by_its_tag() -> None:
    led = Led("w-2", "r-2", "handoff", "w-1", 3, 2, 240_000, ("1-7-1",))
    yielded = Yielded("w-2", 3, 99)
    for about in (led, yielded, None):
        frame = Frame(2, 1, 7, "lead", Schema(1, "f"), GENESIS, Timing(), NOTHING, about=about)
        assert decode_frame(encode_frame(frame)).about == about
    raw: list[Any] = msgspec.msgpack.decode(
        encode_frame(Frame(2, 1, 7, "lead", Schema(1, "f"), GENESIS, Timing(), NOTHING))
    )
    with pytest.raises(WireError, match="Invalid value 'crowned'"):
        decode_frame(msgspec.msgpack.encode([*raw[:11], ["crowned", "w-2"]]))


def test_unknown_words_are_refused() -> None:
    raw: list[Any] = msgspec.msgpack.decode(chain(1)[0])
    raw[3] = "nap"
    with pytest.raises(WireError, match="Invalid enum value 'nap'"):
        decode_frame(msgspec.msgpack.encode(raw))


def test_a_removed_timer_differs_from_an_unchanged_one() -> None:
    frame = Frame(
        1,
        0,
        7,
        "timer",
        Schema(1, ""),
        GENESIS,
        Timing(),
        NOTHING,
        Traffic(),
        {"gone": None, "on": Armed(5, 1)},
    )
    assert decode_frame(encode_frame(frame)).timers == {"gone": None, "on": Armed(5, 1)}


# What msgpack can say of a gap: a range, or two integers that are none.
bounds = st.integers(-(2**63), 2**64 - 1)


@given(bounds, bounds)
def test_a_frame_with_an_invalid_gap_is_refused(first: int, last: int) -> None:
    gap = {"first": first, "last": last, "kind": "missed", "cause": ""}
    plain: list[Any] = [1, 2, 3, "tick", [1, ""], GENESIS, [0, 0, 0, 0, 0, [gap]], [{}, {}]]
    body = msgspec.msgpack.encode(plain)
    if 0 <= last - first < 2**63 - 1:
        assert len(decode_frame(body).timing.gaps[0]) == last - first + 1
    else:
        with pytest.raises(WireError, match="expected the last index at or after the first"):
            decode_frame(body)


def test_a_timer_with_a_negative_period_is_refused() -> None:
    plain: list[Any] = [1, 2, 3, "tick", [1, ""], GENESIS, [], [{}, {}], [], {"exit": [5, -1]}]
    with pytest.raises(WireError):
        decode_frame(msgspec.msgpack.encode(plain))
