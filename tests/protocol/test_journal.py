"""The journal's bytes: what was written whole is read, and what was not is never taken for it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.frame import Schema, Vitals
from neverblink.protocol.journal import (
    FORMAT,
    HEADER_SIZE,
    MAX_RECORD,
    READS,
    Closed,
    Entry,
    Header,
    JournalError,
    JournalTooNew,
    Opened,
    RecordKind,
    Rows,
    Snapshot,
    Torn,
    Whole,
    decode_closed,
    decode_opened,
    decode_rows,
    decode_snapshot,
    decode_whole,
    encode_payload,
    pack_header,
    pack_record,
    read_header,
    records,
    scan,
)
from neverblink.protocol.wire import WireError

from ..hypothesis_profile import examples
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
    (Whole, decode_whole),
]
each = pytest.mark.parametrize(("kind", "decode"), payloads, ids=[kind.__name__ for kind, _ in payloads])


def in_format(version: int) -> bytes:
    """The header of a segment 1 of this format."""
    check = version ^ 0xFFFF if version > 1 else 0
    return b"NBLINKJ\n" + struct.pack("<HHI", version, check, 1)


def whole() -> list[Entry]:
    found = list(scan(SEGMENT))
    assert all(isinstance(entry, Entry) for entry in found)
    return [entry for entry in found if isinstance(entry, Entry)]


def test_a_segment_gives_back_its_records() -> None:
    assert read_header(SEGMENT, "here") == Header(7, FORMAT)
    assert [(entry.kind, entry.payload) for entry in whole()] == RECORDS
    assert whole()[-1].end == len(SEGMENT)
    assert list(scan(memoryview(SEGMENT))) == whole()


def test_a_scan_can_start_at_the_end_of_every_record() -> None:
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
                read_header(bytes(changed), "here").segment != 7
            )  # who opens the file knows its number by its name
            continue
        with pytest.raises(JournalError):
            read_header(bytes(changed), "here")


@given(st.binary(max_size=200))
def test_garbage_is_torn_at_its_beginning(data: bytes) -> None:
    found = list(scan(data, 0))
    assert found == ([Torn(0, found[0].problem)] if data and isinstance(found[0], Torn) else [])


@pytest.mark.parametrize("size", [1, HEAD, HEAD + 1, 4096])
def test_zeros_as_after_a_power_cut_are_not_records(size: int) -> None:
    found = list(scan(SEGMENT + bytes(size)))
    assert found[:-1] == whole()
    assert found[-1] == Torn(
        len(SEGMENT), "a record's head is cut off" if size < HEAD else "no record begins here"
    )


def test_a_record_with_an_excessive_length_is_torn() -> None:
    head = bytearray(pack_record(RecordKind.FRAME, b""))
    length = MAX_RECORD + 1
    head[0:4] = length.to_bytes(4, "little")
    head[9:13] = (length ^ 0xFFFFFFFF).to_bytes(4, "little")
    assert list(scan(bytes(head), 0)) == [Torn(0, "no record begins here")]


def test_a_record_of_an_unknown_kind_is_torn() -> None:
    record = pack_record(9, b"new")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert list(scan(record, 0)) == [Torn(0, "a record's checksum does not match")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "never written whole"),
        (pack_header(1)[:-1], "never written whole"),
        (b"SQLite format 3\0", "not a neverblink journal"),
        (in_format(FORMAT + 1), "written in format 3, this release reads up to 2: .* or a newer one"),
        (pack_header(1)[:8] + b"\0\0" + pack_header(1)[10:], "its header is damaged"),
        (
            pack_header(1)[:8] + (FORMAT + 1).to_bytes(2, "little") + pack_header(1)[10:],
            "its header is damaged",
        ),
    ],
)
def test_a_file_that_is_not_a_segment_is_refused_with_its_name(data: bytes, why: str) -> None:
    with pytest.raises(JournalError, match=why) as caught:
        read_header(data, "00000001.journal")
    assert isinstance(caught.value, NeverblinkError)
    assert caught.value.message.startswith("journal 00000001.journal: ")


@given(st.integers(0, 2**32 - 1))
def test_a_header_has_the_segments_number(segment: int) -> None:
    header = pack_header(segment)
    assert len(header) == HEADER_SIZE
    assert read_header(header, "here") == Header(segment, FORMAT)


# --- formats ---

OLDEST = bytes.fromhex(
    "4e424c494e4b4a0a 0100 0000 07000000"  # the magic, format 1, segment 7
    "05000000 e7c711af 01 faffffff 6669727374"  # a snapshot: "first"
    "00000000 03000000 03 ffffffff"  # an empty frame
)


def test_a_segment_of_the_oldest_format_is_read() -> None:
    assert read_header(OLDEST, "here") == Header(7, 1)
    assert [(e.kind, e.payload) for e in scan(OLDEST, format=1) if isinstance(e, Entry)] == RECORDS[:2]


def test_every_format_up_to_the_written_one_is_read_and_no_later_one() -> None:
    assert list(READS) == list(range(1, FORMAT + 1))
    for version in READS:
        assert read_header(in_format(version), "here") == Header(1, version)
    with pytest.raises(JournalTooNew):
        read_header(in_format(FORMAT + 1), "here")


def test_a_record_of_a_kind_that_its_format_lacks_is_torn() -> None:
    record = pack_record(RecordKind.WHOLE, b"x")
    assert list(scan(record, 0, 1)) == [Torn(0, "a record's checksum does not match")]
    assert list(scan(record, 0, 2)) == [Entry(RecordKind.WHOLE, b"x", len(record))]


def test_a_snapshot_without_later_fields_is_read() -> None:
    """A snapshot is an array: fields at its end that an older release did not write have their defaults."""
    snapshot = Snapshot(1, 2, 3, bytes(16), Schema(1, ""), {}, {}, Vitals())
    fields = msgspec.msgpack.decode(encode_payload(snapshot))
    for known in (8, 9):
        assert decode_snapshot(msgspec.msgpack.encode(fields[:known])) == snapshot


# --- read piece by piece ---


@settings(max_examples=examples(50))
@given(st.lists(st.integers(1, 30), max_size=12), st.integers(HEADER_SIZE, len(SEGMENT)), st.booleans())
def test_the_records_do_not_depend_on_the_size_of_the_pieces(sizes: list[int], end: int, flip: bool) -> None:
    data = bytearray(SEGMENT[:end])
    if flip:
        data[-1] ^= 1
    pieces = iter(sizes)

    def read(offset: int, size: int) -> bytes:
        return bytes(data[offset : offset + min(size, next(pieces, size))])

    assert list(records(read)) == list(scan(bytes(data)))


def test_records_after_damage_are_found() -> None:
    for at in range(len(RECORDS)):
        data = bytearray(SEGMENT)
        end = whole()[at].end
        if not RECORDS[at][1]:
            continue
        data[end - 1] ^= 1
        expected: list[Entry | Torn] = list(whole())
        expected[at] = Torn(end - HEAD - len(RECORDS[at][1]), "a record's checksum does not match")
        assert list(scan(bytes(data), past_damage=True)) == expected
        assert list(records(lambda o, s, d=data: bytes(d[o : o + s]), past_damage=True)) == expected


@each
@settings(max_examples=examples(30))
@given(data=st.data())
def test_every_payload_comes_back(kind: Any, decode: Callable[[bytes], Any], data: st.DataObject) -> None:
    payload = data.draw(messages(kind))
    assert decode(encode_payload(payload)) == payload


@each
@settings(max_examples=examples(30))
@given(data=st.data())
def test_garbage_never_raises_anything_but_wire_error(
    kind: Any, decode: Callable[[bytes], Any], data: st.DataObject
) -> None:
    body = data.draw(garbage | damaged(messages(kind).map(encode_payload)))
    with suppress(WireError):
        assert isinstance(decode(body), kind)
