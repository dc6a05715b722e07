"""The journal on a real file system: two writers in turn, torn tails, full disks."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neverblink.protocol.journal import (
    HEADER_SIZE,
    MAX_RECORD,
    Entry,
    JournalError,
    Position,
    RecordKind,
    pack_header,
    pack_record,
    scan,
)
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.journal.interfaces import Journal, NoJournal, SegmentEnd

from ...hypothesis_profile import examples
from ..file_limit import file_size_limit

FRAME, SNAPSHOT, OPENED, CLOSED = (
    RecordKind.FRAME,
    RecordKind.SNAPSHOT,
    RecordKind.OPENED,
    RecordKind.CLOSED,
)
FIRST = "00000001.journal"
SECOND = 1_000_000_000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JournalDirectory]:
    made = JournalDirectory(tmp_path, "process")
    yield made
    made.close()


def begin(journal: Journal, records: list[tuple[RecordKind, bytes]]) -> Position:
    """Begin a segment with these records, and publish it."""
    new = journal.begin()
    for record in records:
        new.append(*record)
    while not new.publish():
        new.settle()
    return journal.position


def read_on(journal: Journal, position: Position) -> Iterator[tuple[int, Entry | SegmentEnd]]:
    for entry in journal.stored():
        if entry.number >= position.segment:
            offset = position.offset if entry.number == position.segment else 0
            yield from ((entry.number, item) for item in journal.read(entry.number, offset))


def entries(journal: Journal, position: Position) -> list[Entry]:
    return [item for _, item in read_on(journal, position) if isinstance(item, Entry)]


def payloads(journal: Journal, position: Position) -> list[bytes]:
    return [entry.payload for entry in entries(journal, position)]


def mend(journal: Journal) -> None:
    """Attach where the whole records of the newest segment end."""
    number = journal.stored()[-1].number
    (end,) = [item for item in journal.read(number) if isinstance(item, SegmentEnd)]
    assert end.tail
    journal.settle(Position(number, end.offset))


def on_disk(path: Path) -> list[Any]:
    return [getattr(found, "payload", found) for found in scan(path.read_bytes())]


# --- one writer ---


def test_a_journal_begins_with_a_snapshot_followed_by_frames(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    start = begin(journal, [(SNAPSHOT, b"root"), (RecordKind.ROWS, b"rows")])
    assert start == Position(1, (tmp_path / FIRST).stat().st_size)
    end = journal.append(FRAME, b"one")
    assert end == Position(1, (tmp_path / FIRST).stat().st_size)
    assert (tmp_path / FIRST).read_bytes() == (
        pack_header(1)
        + pack_record(SNAPSHOT, b"root")
        + pack_record(RecordKind.ROWS, b"rows")
        + pack_record(FRAME, b"one")
    )
    assert [path.name for path in tmp_path.iterdir()] == [FIRST]


def test_the_journal_is_readable_by_its_owner_only(journal: JournalDirectory, tmp_path: Path) -> None:
    begin(journal, [])
    assert (tmp_path / FIRST).stat().st_mode & 0o777 == 0o600


def test_a_new_segment_has_the_next_number_and_overwrites_nothing(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    (tmp_path / "00000007.journal").write_bytes(b"an earlier life")
    (tmp_path / "notes.journal").write_bytes(b"somebody's notes")
    (tmp_path / "00000008.journal.1.new").write_bytes(b"begun, and killed")
    assert begin(journal, [(SNAPSHOT, b"s")]).segment == 8
    assert (tmp_path / "00000007.journal").read_bytes() == b"an earlier life"
    assert on_disk(tmp_path / "00000008.journal") == [b"s"]
    assert not (tmp_path / "00000008.journal.1.new").exists()


@pytest.mark.parametrize("durability", ["process", "interval", "always"])
def test_every_durability_writes_the_same_bytes(tmp_path: Path, durability: str) -> None:
    journal = JournalDirectory(tmp_path, durability)
    begin(journal, [(SNAPSHOT, b"s")])
    for number in range(3):
        journal.append(FRAME, b"%d" % number)
    journal.close()
    journal.close()
    assert on_disk(tmp_path / FIRST) == [b"s", b"0", b"1", b"2"]


def test_a_closed_journal_refuses_to_write(journal: JournalDirectory) -> None:
    begin(journal, [])
    journal.close()
    with pytest.raises(JournalError, match="it is not open for writing"):
        journal.append(FRAME, b"x")


# --- two writers in turn ---


def test_the_next_leader_continues_where_the_old_one_ended(journal: JournalDirectory, tmp_path: Path) -> None:
    end = begin(journal, [(SNAPSHOT, b"s")])
    end = journal.append(FRAME, b"old")
    successor = JournalDirectory(tmp_path, "process")
    assert successor.attach(end)
    middle = successor.append(FRAME, b"new")
    assert journal.attach(middle)
    journal.append(FRAME, b"old again")
    assert on_disk(tmp_path / FIRST) == [b"s", b"old", b"new", b"old again"]
    successor.close()


def test_a_successor_that_lags_reads_the_rest_of_the_journal(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    seen = begin(journal, [(SNAPSHOT, b"s")])
    journal.append(FRAME, b"one")
    end = journal.append(OPENED, b"two")
    successor = JournalDirectory(tmp_path, "process")
    assert not successor.attach(seen)
    found = entries(successor, seen)
    assert [(entry.kind, entry.payload) for entry in found] == [(FRAME, b"one"), (OPENED, b"two")]
    assert found[-1].end == end.offset
    mend(successor)
    assert successor.append(FRAME, b"three").offset > end.offset
    assert on_disk(tmp_path / FIRST) == [b"s", b"one", b"two", b"three"]
    successor.close()


@pytest.mark.parametrize("rest", [b"\x05", pack_record(FRAME, b"torn")[:-1], bytes(5), bytes(4096)])
def test_a_record_half_written_by_a_dead_leader_is_cut_off(
    journal: JournalDirectory, tmp_path: Path, rest: bytes
) -> None:
    end = begin(journal, [(SNAPSHOT, b"s")])
    end = journal.append(FRAME, b"whole")
    with (tmp_path / FIRST).open("ab") as file:
        file.write(rest)
    successor = JournalDirectory(tmp_path, "process")
    assert not successor.attach(end)
    assert payloads(successor, end) == []
    mend(successor)
    successor.append(FRAME, b"next")
    assert on_disk(tmp_path / FIRST) == [b"s", b"whole", b"next"]
    successor.close()


def test_damage_is_distinguished_from_the_torn_end_of_a_killed_process(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    start = begin(journal, [(SNAPSHOT, b"s")])
    journal.append(FRAME, b"spoilt")
    end = journal.append(FRAME, b"whole")
    path = tmp_path / FIRST
    body = bytearray(path.read_bytes())
    body[start.offset + 15] ^= 1
    path.write_bytes(body)
    found = list(journal.read(1, start.offset))
    problem = "a record's checksum does not match"
    assert found == [SegmentEnd(start.offset, problem, False, end.offset - start.offset)]
    # Whole records may follow a flipped bit.
    beyond = list(journal.read(1, start.offset, past_damage=True))
    assert beyond == [*found, Entry(FRAME, b"whole", end.offset), SegmentEnd(end.offset)]
    assert path.read_bytes() == body


def test_reading_continues_in_later_segments(journal: JournalDirectory, tmp_path: Path) -> None:
    start = begin(journal, [(SNAPSHOT, b"s1")])
    journal.append(FRAME, b"one")
    with (tmp_path / FIRST).open("ab") as file:
        file.write(b"torn")
    begin(journal, [(SNAPSHOT, b"s2")])
    journal.append(FRAME, b"two")
    successor = JournalDirectory(tmp_path, "process")
    assert not successor.attach(start)
    assert payloads(successor, start) == [b"one", b"s2", b"two"]
    mend(successor)
    assert successor.append(FRAME, b"three").segment == 2
    successor.close()


writes = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 40)),
    st.tuples(st.just("take over"), st.just(0)),
    st.tuples(st.just("die"), st.integers(0, 30)),
    st.tuples(st.just("full"), st.integers(0, 30)),
)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(writes, max_size=25))
def test_every_later_leader_reads_what_was_reported_as_written(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, int]]
) -> None:
    """Two workers lead in turn; a leader may die during a write, and the disk may be full for a while."""
    directory = tmp_path_factory.mktemp("journal")
    number = count()
    writers = [JournalDirectory(directory, "process"), JournalDirectory(directory, "process")]
    start = end = begin(writers[0], [(SNAPSHOT, b"s")])
    leads, expected = 0, list[bytes]()

    def take_over() -> None:
        nonlocal leads
        leads = 1 - leads
        if not writers[leads].attach(end):
            assert payloads(writers[leads], end) == []
            mend(writers[leads])

    for word, size in story:
        payload = b"%d:" % next(number) + b"x" * size
        match word:
            case "append":
                end = writers[leads].append(FRAME, payload)
                expected.append(payload)
            case "die":
                with (directory / FIRST).open("ab") as file:
                    file.write(pack_record(FRAME, payload)[: size + 1])
                writers[leads].close()
                take_over()
            case "full":
                with file_size_limit(end.offset + min(size, 12 + len(payload))), pytest.raises(JournalError):
                    writers[leads].append(FRAME, payload)
            case _:
                take_over()
    assert payloads(writers[leads], start) == expected
    assert (directory / FIRST).stat().st_size >= end.offset
    for writer in writers:
        writer.close()


# --- a failing disk ---


def test_a_write_that_exceeds_the_file_size_limit_leaves_nothing_behind(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    begin(journal, [(SNAPSHOT, b"s")])
    end = journal.append(FRAME, b"one")
    with file_size_limit(end.offset + 7):
        with pytest.raises(
            JournalError, match=f"{FIRST}: cannot be written: it has reached the size limit of a file"
        ):
            journal.append(FRAME, b"too much")
        assert (tmp_path / FIRST).stat().st_size == end.offset
    after = journal.append(FRAME, b"two")
    assert after.offset == (tmp_path / FIRST).stat().st_size
    assert on_disk(tmp_path / FIRST) == [b"s", b"one", b"two"]


def test_a_full_disk_raises_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / FIRST).symlink_to("/dev/full")
    journal = JournalDirectory(tmp_path, "process")
    journal.attach(Position(1, 0))
    with pytest.raises(JournalError, match=f"{FIRST}: cannot be written: the disk is full: free some space"):
        journal.append(FRAME, b"x")
    journal.close()


def test_a_segment_that_could_not_be_created_is_not_part_of_the_journal(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    with file_size_limit(HEADER_SIZE + 5):
        new = journal.begin()
        with pytest.raises(JournalError, match=r"00000001\.journal\.\d+\.new: cannot be written"):
            new.append(SNAPSHOT, b"too much")
        new.discard()
    with file_size_limit(HEADER_SIZE - 1), pytest.raises(JournalError, match="cannot be created"):
        journal.begin()
    journal.close()
    assert list(tmp_path.iterdir()) == []
    assert begin(journal, [(SNAPSHOT, b"s")]).segment == 1


def test_an_unfinished_segment_does_not_hinder_a_successor(journal: JournalDirectory, tmp_path: Path) -> None:
    end = begin(journal, [(SNAPSHOT, b"s")])
    (tmp_path / "00000002.journal.1.new").write_bytes(pack_header(2)[:9])
    successor = JournalDirectory(tmp_path, "process")
    assert successor.attach(end)
    successor.close()


def test_a_record_too_large_to_be_read_back_is_not_written(journal: JournalDirectory, tmp_path: Path) -> None:
    begin(journal, [])
    size = (tmp_path / FIRST).stat().st_size

    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_RECORD + 1

    with pytest.raises(JournalError, match=f"at most {MAX_RECORD} can be read back: .*Table"):
        journal.append(FRAME, Huge())
    assert (tmp_path / FIRST).stat().st_size == size


def test_a_failed_background_fsync_is_raised_at_the_next_write(tmp_path: Path) -> None:
    """fdatasync fails for a pipe, as it does for a file on a failing disk."""
    os.mkfifo(tmp_path / FIRST)
    reader = os.open(tmp_path / FIRST, os.O_RDONLY | os.O_NONBLOCK)
    journal = JournalDirectory(tmp_path, "interval")
    try:
        journal.attach(Position(1, 0))
        journal.append(FRAME, b"x")
        with pytest.raises(JournalError, match=f"{FIRST}: cannot be forced to the disk"):
            journal.close()
    finally:
        os.close(reader)
    with pytest.raises(JournalError):
        journal.append(FRAME, b"y")


def test_a_failed_fsync_is_a_failed_write(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FIRST)
    reader = os.open(tmp_path / FIRST, os.O_RDONLY | os.O_NONBLOCK)
    journal = JournalDirectory(tmp_path, "always")
    try:
        journal.attach(Position(1, 0))
        with pytest.raises(JournalError, match=f"{FIRST}: cannot be written"):
            journal.append(FRAME, b"x")
    finally:
        os.close(reader)
        journal.close()


def test_a_new_segment_under_interval_durability_syncs_the_old_segment_first(tmp_path: Path) -> None:
    journal = JournalDirectory(tmp_path, "interval")
    for segment in range(1, 6):
        assert begin(journal, [(SNAPSHOT, b"s")]).segment == segment
        journal.append(FRAME, b"x")
    journal.close()
    assert all(on_disk(path) == [b"s", b"x"] for path in tmp_path.iterdir())


# --- damaged, missing and unreadable files ---


def test_a_missing_segment_raises_an_error_that_names_it(journal: JournalDirectory, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"00000003\.journal: cannot be opened: it does not exist"):
        journal.attach(Position(3, 16))
    with pytest.raises(JournalError, match=r"00000003\.journal: cannot be read: it does not exist"):
        list(journal.read(3))
    start = begin(journal, [(SNAPSHOT, b"s")])
    (tmp_path / "00000003.journal").write_bytes(pack_header(3))
    assert not journal.attach(start)


def test_a_removed_journal_directory_is_created_again_but_a_removed_home_is_not(tmp_path: Path) -> None:
    journal = JournalDirectory(tmp_path / "home" / "journal", "process")
    with pytest.raises(JournalError, match="journal: cannot be listed: it does not exist"):
        journal.stored()
    with pytest.raises(JournalError, match="journal: cannot be written: it does not exist"):
        journal.begin()
    (tmp_path / "home").mkdir()
    assert begin(journal, [(SNAPSHOT, b"s")]).segment == 1
    assert (tmp_path / "home" / "journal").stat().st_mode & 0o777 == 0o700
    assert journal.in_place()
    (tmp_path / "home" / "journal" / FIRST).unlink()
    assert not journal.in_place()
    journal.close()


def test_a_journal_is_written_in_a_moved_home_until_the_home_is_removed(tmp_path: Path) -> None:
    home, moved = tmp_path / "home", tmp_path / "moved"
    home.mkdir()
    journal = JournalDirectory(home / "journal", "process")
    begin(journal, [(SNAPSHOT, b"s")])
    home.rename(moved)
    assert journal.in_place()
    (moved / "journal").rename(tmp_path / "elsewhere")
    home.mkdir()
    assert not journal.in_place(), "a successor looks into the home that is there"
    home.rmdir()
    shutil.rmtree(tmp_path / "elsewhere")
    assert not journal.in_place()
    journal.close()


def test_a_directory_in_place_of_a_segment_raises_an_error(journal: JournalDirectory, tmp_path: Path) -> None:
    (tmp_path / FIRST).mkdir()
    with pytest.raises(JournalError, match=f"{FIRST}: cannot be opened \\(Is a directory\\)"):
        journal.attach(Position(1, 16))
    with pytest.raises(JournalError, match=f"{FIRST}: cannot be read \\(Is a directory\\)"):
        payloads(journal, Position(1, 16))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_file_without_permission_raises_an_error_that_names_it(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    (tmp_path / FIRST).write_bytes(pack_header(1))
    (tmp_path / FIRST).chmod(0)
    with pytest.raises(JournalError, match=f"{FIRST}: cannot be opened: no permission: give this user"):
        journal.attach(Position(1, 16))


def test_a_segment_under_another_number_raises_an_error(journal: JournalDirectory, tmp_path: Path) -> None:
    (tmp_path / FIRST).write_bytes(pack_header(9))
    with pytest.raises(JournalError, match=f"{FIRST}: its header has the number 9"):
        payloads(journal, Position(1, HEADER_SIZE))


def test_a_segment_shorter_than_what_was_read_before_raises_and_is_not_extended(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    end = begin(journal, [(SNAPSHOT, b"s")])
    beyond = Position(1, end.offset + 50)
    assert not journal.attach(beyond)
    with pytest.raises(JournalError, match=f"it ends at byte {end.offset}, but was read up to byte"):
        list(journal.read(1, beyond.offset))
    assert (tmp_path / FIRST).stat().st_size == end.offset


# --- without a journal ---


def test_a_bot_that_runs_alone_writes_nothing() -> None:
    journal: Journal = NoJournal()
    start = begin(journal, [(SNAPSHOT, b"s")])
    assert journal.append(FRAME, b"x") == start
    assert journal.attach(start)
    assert list(journal.read(1)) == []
    assert journal.stored() == []
    journal.close()


# --- the end of the journal, looked for twice -------------------------------------------------------------------------


def last_changed(path: Path, ago: int) -> None:
    """Set the directory's time of change to `ago` ns before now."""
    then = time.time_ns() - ago
    os.utime(path, ns=(then, then))


def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts the listings of a directory."""
    done: list[str] = []
    lists = os.listdir

    def counted(path: str) -> list[str]:
        done.append(str(path))
        return lists(path)

    monkeypatch.setattr(os, "listdir", counted)
    return done


def test_an_unchanged_directory_is_not_listed_again(
    journal: JournalDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = begin(journal, [(SNAPSHOT, b"s")])
    last_changed(tmp_path, SECOND)
    successor = JournalDirectory(tmp_path, "process")
    done = listings(monkeypatch)
    assert successor.attach(end)
    assert successor.attach(end)
    assert len(done) == 1
    successor.close()


@pytest.mark.parametrize("settled", [True, False])
def test_a_segment_created_since_the_last_listing_is_found(
    journal: JournalDirectory, tmp_path: Path, settled: bool
) -> None:
    end = begin(journal, [(SNAPSHOT, b"s")])
    if settled:
        last_changed(tmp_path, SECOND)
    successor = JournalDirectory(tmp_path, "process")
    assert successor.attach(end)
    # Possibly within one tick of the kernel's clock for file times.
    before = tmp_path.stat().st_mtime_ns
    newer = begin(journal, [(SNAPSHOT, b"t")])
    if not settled:
        os.utime(tmp_path, ns=(before, before))
    assert not successor.attach(end)
    assert successor.attach(newer)
    successor.close()


def test_a_segment_removed_since_the_last_listing_is_noticed(
    journal: JournalDirectory, tmp_path: Path
) -> None:
    end = begin(journal, [(SNAPSHOT, b"s")])
    last_changed(tmp_path, SECOND)
    successor = JournalDirectory(tmp_path, "process")
    assert successor.attach(end)
    (tmp_path / FIRST).unlink()
    assert not successor.attach(end)
    successor.close()
