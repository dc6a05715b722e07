"""The journal's bytes: what was written whole is read, and what was not is never taken for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.journal import (
    FORMAT,
    HEADER_SIZE,
    MAX_RECORD,
    Closed,
    Entry,
    JournalError,
    Opened,
    RecordKind,
    Rows,
    Snapshot,
    Torn,
    decode_closed,
    decode_opened,
    decode_rows,
    decode_snapshot,
    encode_payload,
    pack_header,
    pack_record,
    scan,
    unpack_header,
)
from neverblink.protocol.wire import WireError

from .codecs import damaged, garbage, messages

RECORDS = [
    (RecordKind.SNAPSHOT, b"first"),
    (RecordKind.FRAME, b""),
    (RecordKind.OPENED, b"\0" * 20),
    (RecordKind.FRAME, bytes(range(40))),
]
SEGMENT = pack_header(7) + b"".join(pack_record(kind, payload) for kind, payload in RECORDS)
HEAD = 13

payloads: list[tuple[type[Any], Callable[[bytes], Any]]] = [
    (Snapshot, decode_snapshot),
    (Rows, decode_rows),
    (Opened, decode_opened),
    (Closed, decode_closed),
]
each = pytest.mark.parametrize(("kind", "decode"), payloads, ids=[kind.__name__ for kind, _ in payloads])


def whole() -> list[Entry]:
    found = list(scan(SEGMENT))
    assert all(isinstance(entry, Entry) for entry in found)
    return [entry for entry in found if isinstance(entry, Entry)]


def test_a_segment_gives_back_its_records() -> None:
    assert unpack_header(SEGMENT, "here") == 7
    assert [(entry.kind, entry.payload) for entry in whole()] == RECORDS
    assert whole()[-1].end == len(SEGMENT)
    assert list(scan(memoryview(SEGMENT))) == whole()


def test_every_end_of_a_record_is_a_place_to_go_on_from() -> None:
    entries = whole()
    for index, entry in enumerate(entries):
        assert list(scan(SEGMENT, entry.end)) == entries[index + 1 :]


def test_a_segment_cut_off_anywhere_yields_the_whole_records_and_says_where_it_is_torn() -> None:
    ends = [HEADER_SIZE, *(entry.end for entry in whole())]
    for size in range(HEADER_SIZE, len(SEGMENT) + 1):
        found = list(scan(SEGMENT[:size]))
        kept = [entry for entry in whole() if entry.end <= size]
        assert found[: len(kept)] == kept
        if size in ends:
            assert len(found) == len(kept)
            continue
        (torn,) = found[len(kept) :]
        assert isinstance(torn, Torn)
        assert torn.offset == max(end for end in ends if end <= size)
        assert torn.problem.endswith("cut off")


def test_a_flipped_bit_anywhere_is_detected() -> None:
    for bit in range(HEADER_SIZE * 8, len(SEGMENT) * 8):
        changed = bytearray(SEGMENT)
        changed[bit // 8] ^= 1 << bit % 8
        found = list(scan(bytes(changed)))
        torn = found[-1]
        assert isinstance(torn, Torn), bit
        # All that came before it is there, and nothing of it or after it.
        assert found[:-1] == [entry for entry in whole() if entry.end <= bit // 8]
        assert torn.offset == max([HEADER_SIZE, *(entry.end for entry in whole() if entry.end <= bit // 8)])


def test_a_flipped_bit_in_the_header_is_detected_or_makes_it_another_segment() -> None:
    header = pack_header(7)
    for bit in range(HEADER_SIZE * 8):
        changed = bytearray(header)
        changed[bit // 8] ^= 1 << bit % 8
        if bit // 8 >= 12:
            assert (
                unpack_header(bytes(changed), "here") != 7
            )  # who opens the file knows its number by its name
            continue
        with pytest.raises(JournalError):
            unpack_header(bytes(changed), "here")


@given(st.binary(max_size=200))
def test_garbage_is_torn_at_its_beginning(data: bytes) -> None:
    found = list(scan(data, 0))
    assert found == ([Torn(0, found[0].problem)] if data and isinstance(found[0], Torn) else [])


@pytest.mark.parametrize("size", [1, HEAD, HEAD + 1, 4096])
def test_zeros_as_after_a_power_cut_are_no_records(size: int) -> None:
    found = list(scan(SEGMENT + bytes(size)))
    assert found[:-1] == whole()
    assert found[-1] == Torn(
        len(SEGMENT), "a record's head is cut off" if size < HEAD else "no record begins here"
    )


def test_a_length_out_of_bounds_is_no_record() -> None:
    head = bytearray(pack_record(RecordKind.FRAME, b""))
    length = MAX_RECORD + 1
    head[0:4] = length.to_bytes(4, "little")
    head[9:13] = (length ^ 0xFFFFFFFF).to_bytes(4, "little")
    assert list(scan(bytes(head), 0)) == [Torn(0, "no record begins here")]


def test_a_kind_of_a_later_format_is_no_record() -> None:
    record = pack_record(9, b"new")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert list(scan(record, 0)) == [Torn(0, "a record's checksum does not match")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "never written whole"),
        (pack_header(1)[:-1], "never written whole"),
        (b"SQLite format 3\0", "not a neverblink journal"),
        (pack_header(1)[:8] + (FORMAT + 1).to_bytes(2, "little") + pack_header(1)[10:], "or a newer one"),
        (pack_header(1)[:8] + b"\0\0" + pack_header(1)[10:], "its header is damaged"),
    ],
)
def test_what_is_no_segment_is_refused_with_its_place(data: bytes, why: str) -> None:
    with pytest.raises(JournalError, match=why) as caught:
        unpack_header(data, "00000001.journal")
    assert isinstance(caught.value, NeverblinkError)
    assert caught.value.message.startswith("journal 00000001.journal: ")


@given(st.integers(0, 2**32 - 1))
def test_a_header_says_its_number(segment: int) -> None:
    header = pack_header(segment)
    assert len(header) == HEADER_SIZE
    assert unpack_header(header, "here") == segment


@each
@settings(max_examples=30)
@given(data=st.data())
def test_every_payload_comes_back(kind: Any, decode: Callable[[bytes], Any], data: st.DataObject) -> None:
    payload = data.draw(messages(kind))
    assert decode(encode_payload(payload)) == payload


@each
@settings(max_examples=30)
@given(data=st.data())
def test_garbage_never_raises_anything_but_wire_error(
    kind: Any, decode: Callable[[bytes], Any], data: st.DataObject
) -> None:
    body = data.draw(garbage | damaged(messages(kind).map(encode_payload)))
    with suppress(WireError):
        assert isinstance(decode(body), kind)
