"""A feed's replay buffer, its messages in a byte stream, and its file."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.feed_file import (
    FILE_SIZE,
    RESUME_MAX,
    FeedRecord,
    decode_feed_file,
    encode_feed_record,
    place_of,
)
from neverblink.protocol.feed_queue import FeedEntry
from neverblink.protocol.feed_ring import FeedRing
from neverblink.protocol.feed_wire import (
    FeedEvents,
    FeedStream,
    encode_events,
    feed_codec,
    feed_key,
    framed,
)
from neverblink.protocol.wire import WireError


def test_a_ring_numbers_from_one_and_sends_what_is_after_a_position() -> None:
    ring = FeedRing(7, 1000)
    assert [ring.add(name) for name in (b"a", b"b", b"c")] == [1, 2, 3]
    assert ring.batch(ring.start_for(7, 1), 1000) == (2, [b"b", b"c"])
    assert ring.batch(ring.start_for(7, 3), 1000) == (4, [])


def test_a_subscriber_of_another_run_gets_all_that_the_ring_has() -> None:
    ring = FeedRing(7, 1000)
    ring.add(b"a")
    assert ring.start_for(6, 900) == 1
    assert ring.start_for(0, 0) == 1


def test_a_position_that_the_ring_has_not_reached_is_its_end() -> None:
    ring = FeedRing(7, 1000)
    ring.add(b"a")
    assert ring.start_for(7, 50) == 2


def test_a_ring_drops_the_oldest_events_beyond_its_bytes_and_keeps_the_newest_however_large() -> None:
    ring = FeedRing(7, 4)
    for name in (b"aa", b"bb", b"cc"):
        ring.add(name)
    assert (ring.first, ring.last, ring.size, len(ring)) == (2, 3, 4, 2)
    assert ring.batch(1, 1000) == (2, [b"bb", b"cc"])
    ring.add(b"larger than the ring")
    assert ring.batch(1, 1) == (4, [b"larger than the ring"])


def test_a_ring_holds_at_most_so_many_events() -> None:
    ring = FeedRing(7, 1000, most_events=2)
    for name in (b"a", b"b", b"c"):
        ring.add(name)
    assert ring.batch(0, 1000) == (2, [b"b", b"c"])


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_messages_come_out_of_a_stream_however_it_is_cut(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(framed(message) for message in messages)
    stream = FeedStream()
    found: list[bytes] = []
    at, turn = 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += stream.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert found == messages


def test_a_message_that_is_cut_off_by_the_end_of_its_process_is_not_delivered() -> None:
    whole = framed(b"one") + framed(b"another")
    assert FeedStream().feed(whole[:-1]) == [b"one"]


def test_a_length_beyond_the_limit_is_refused() -> None:
    with pytest.raises(WireError):
        FeedStream(100).feed((101).to_bytes(4, "big"))


def test_events_are_encoded_once_and_sent_as_they_are() -> None:
    entries = [msgspec.msgpack.encode((at, data)) for at, data in ((5, b"a"), (6, b"b"))]
    [body] = FeedStream().feed(encode_events(3, entries))
    assert feed_codec.decode(body) == FeedEvents(3, [FeedEntry(5, b"a"), FeedEntry(6, b"b")])


def test_each_feed_has_a_key_of_its_own() -> None:
    assert len({feed_key(bytes(32), "a"), feed_key(bytes(32), "b"), feed_key(b"x" * 32, "a")}) == 3


def _record(count: int, n: int = 0, resume: bytes = b"") -> FeedRecord:
    return FeedRecord(count, 9, n, 4, resume, 5, 6, "20261124T151404Z-1a2b3c4d")


def _file(*records: FeedRecord) -> bytearray:
    data = bytearray(FILE_SIZE)
    for record in records:
        packed = encode_feed_record(record)
        data[place_of(record.count) : place_of(record.count) + len(packed)] = packed
    return data


def test_the_newest_record_of_a_feeds_file_counts() -> None:
    assert decode_feed_file(_file()) is None
    assert decode_feed_file(_file(_record(1), _record(2), _record(3, n=8))) == _record(3, n=8)


def test_an_interrupted_write_leaves_the_record_before() -> None:
    data = _file(_record(1), _record(2))
    data[place_of(2) + 12] ^= 0xFF
    assert decode_feed_file(data) == _record(1)


def test_the_largest_resume_fits_into_the_file() -> None:
    record = _record(1, resume=bytes(RESUME_MAX))
    assert decode_feed_file(_file(record)) == record
