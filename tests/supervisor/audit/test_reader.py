"""Reading a journal's files: whole records in order, what tears and what damages them, and a leader that writes on."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neverblink.protocol.journal import (
    HEADER_SIZE,
    Entry,
    JournalError,
    JournalTooNew,
    Position,
    RecordKind,
    pack_header,
    pack_record,
)
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import (
    Damage,
    Found,
    Segment,
    UnfinishedRecord,
    check_formats,
    read_journal,
    segments,
)
from neverblink.worker.journal.directory import JournalDirectory

from .journal_builder import JournalBuilder, write_segment

CLOSED, OPENED = RecordKind.CLOSED, RecordKind.OPENED


def payloads(found: list[Found]) -> list[bytes]:
    return [item.payload for item in found if isinstance(item, Entry)]


def test_a_missing_or_empty_directory_has_no_records(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "none")) == []
    (tmp_path / "notes.journal").write_bytes(b"not ours")
    assert list(read_journal(tmp_path)) == []
    assert segments(tmp_path) == []


def test_records_that_a_worker_writes_can_be_read(tmp_path: Path) -> None:
    journal = JournalDirectory(tmp_path, "process")

    def begin(*records: tuple[RecordKind, bytes]) -> Position:
        new = journal.begin()
        for record in records:
            new.append(*record)
        assert new.publish()
        return journal.position

    first = begin((RecordKind.SNAPSHOT, b"one"), (RecordKind.ROWS, b"two"))
    second = journal.append(RecordKind.FRAME, b"three")
    begin((RecordKind.SNAPSHOT, b"four"))
    journal.close()
    found = list(read_journal(tmp_path))
    assert payloads(found) == [b"one", b"two", b"three", b"four"]
    assert [item for item in found if not isinstance(item, Entry)] == [
        Segment(1, second.offset),
        Segment(2, (tmp_path / "00000002.journal").stat().st_size),
    ]
    ends = [item.end for item in found if isinstance(item, Entry)]
    assert (ends[1], ends[2]) == (first.offset, second.offset)


def test_records_longer_than_a_read_block_are_read(tmp_path: Path) -> None:
    bodies = [b"a" * 10, b"b" * 3_000_000, b"c", os.urandom(1 << 20), b""]
    path = write_segment(tmp_path, 1, [(CLOSED, body) for body in bodies])
    found = list(read_journal(tmp_path))
    assert payloads(found) == bodies
    assert isinstance(found[-1], Entry)
    assert found[-1].end == path.stat().st_size


def test_a_truncation_at_any_byte_is_a_torn_tail(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, [(CLOSED, b"whole"), (CLOSED, b"a half")])
    size = path.stat().st_size
    whole = size - 13 - 6
    for length in range(size - 1, whole, -1):
        os.truncate(path, length)
        found = list(read_journal(tmp_path))
        assert payloads(found) == [b"whole"]
        assert isinstance(found[-1], UnfinishedRecord)
        assert (found[-1].offset, found[-1].rest) == (whole, length - whole)
    os.truncate(path, whole)
    assert len(list(read_journal(tmp_path))) == 2
    for length in range(HEADER_SIZE):
        os.truncate(path, length)
        assert isinstance(list(read_journal(tmp_path))[-1], UnfinishedRecord)


def test_zeros_after_a_power_cut_are_a_torn_tail(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, [(CLOSED, b"whole")])
    size = path.stat().st_size
    os.truncate(path, size + 3_000_000)
    assert list(read_journal(tmp_path))[-1] == UnfinishedRecord(
        1, size, 3_000_000, "zeros, as after a power cut"
    )
    with path.open("ab") as file:
        file.write(b"x")
    assert isinstance(list(read_journal(tmp_path))[-1], Damage)


def test_a_torn_tail_before_a_later_segment_is_accepted(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, [(CLOSED, b"one"), (CLOSED, b"two")])
    os.truncate(path, path.stat().st_size - 1)
    write_segment(tmp_path, 2, [(CLOSED, b"three")])
    found = list(read_journal(tmp_path))
    assert payloads(found) == [b"one", b"three"]
    assert [type(item) for item in found] == [Segment, Entry, UnfinishedRecord, Segment, Entry]


def test_any_flipped_bit_in_the_middle_is_damage(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, [(CLOSED, b"one"), (OPENED, b"two"), (CLOSED, b"three")])
    body = path.read_bytes()
    for bit in range(len(body) * 8):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found = list(read_journal(tmp_path))
        assert isinstance(found[-1], Damage), bit
        assert found[-1].offset <= bit // 8


def test_invalid_headers_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "00000003.journal"
    path.write_bytes(pack_header(4))
    assert list(read_journal(tmp_path))[-1] == Damage(3, 0, "its header says segment 4")
    path.write_bytes(b"something else altogether")
    (damage,) = [found for found in read_journal(tmp_path) if isinstance(found, Damage)]
    assert damage.problem == "not a neverblink journal"
    header = bytearray(pack_header(3))
    header[8:12] = struct.pack("<HH", 99, 99 ^ 0xFFFF)
    path.write_bytes(header)
    with pytest.raises(JournalTooNew, match="start it with the release that wrote it"):
        list(read_journal(tmp_path))
    with pytest.raises(JournalTooNew):
        check_formats(tmp_path)


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "00000001.journal").mkdir()
    with pytest.raises(JournalError, match=r"00000001\.journal: cannot be read"):
        list(read_journal(tmp_path))


# --- a leader that writes on while it is read ---


def test_records_written_while_reading_are_read(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, [(CLOSED, b"one")])
    reading = read_journal(tmp_path)
    assert payloads([next(reading), next(reading)]) == [b"one"]
    with path.open("ab") as file:
        file.write(pack_record(CLOSED, b"two"))
    assert payloads([next(reading)]) == [b"two"]
    with path.open("ab") as file:
        file.write(pack_record(CLOSED, b"three"))
    write_segment(tmp_path, 2, [(CLOSED, b"four")])
    assert payloads(list(reading)) == [b"three", b"four"]


def test_a_record_written_in_two_parts_is_read_when_complete(tmp_path: Path) -> None:
    record = pack_record(CLOSED, b"two" * 100)
    path = write_segment(tmp_path, 1, [(CLOSED, b"one")])
    with path.open("ab") as file:
        file.write(record[:20])
    reading = read_journal(tmp_path)
    assert payloads([next(reading), next(reading)]) == [b"one"]
    with path.open("ab") as file:
        file.write(record[20:])
    assert payloads(list(reading)) == [b"two" * 100]


def test_a_torn_tail_that_a_successor_overwrites_is_read_again(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, [(CLOSED, b"one")])
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(pack_record(CLOSED, b"never finished")[:-1])
    reading = read_journal(tmp_path)
    assert payloads([next(reading), next(reading)]) == [b"one"]
    os.truncate(path, whole)
    with path.open("ab") as file:
        file.write(pack_record(CLOSED, b"2"))
    assert payloads(list(reading)) == [b"2"]


# --- the audit of files ---


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builder = JournalBuilder().begin().receive("a", "b").tick().event("a").event("b").ticks(5)
    builder.conclude(builder.decide())
    builder.hand("w2", "v2", deployment=1).ticks(5).segment().ticks(3)
    return builder.write(tmp_path_factory.mktemp("journal"))[0]


def test_a_journal_on_disk_gives_the_same_audit_as_in_memory(journal: Path) -> None:
    report = audit(read_journal(journal.parent))
    assert report.ok
    assert (report.ticks, report.last) == (14, 1014)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_detected(journal: Path, where: float, bit: int) -> None:
    body = journal.read_bytes()
    at = HEADER_SIZE + int(where * (len(body) - HEADER_SIZE))
    try:
        journal.write_bytes(body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :])
        assert not audit(read_journal(journal.parent)).ok
    finally:
        journal.write_bytes(body)
