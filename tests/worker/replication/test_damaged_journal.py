"""Whatever has become of the files: recovery takes the newest whole prefix, says how far it is, and is never wrong."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neverblink.protocol.frame import decode_frame
from neverblink.protocol.journal import (
    HEADER_SIZE,
    NOWHERE,
    Closed,
    Entry,
    JournalError,
    JournalTooNew,
    Opened,
    RecordKind,
    decode_snapshot,
    encode_payload,
    pack_record,
    scan,
)
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import read_journal
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.model.cells import StateUnreadable
from neverblink.worker.model.replica import Replica
from neverblink.worker.replication.recovery import RecoveredJournal, catch_up, from_journal, resume

from ...hypothesis_profile import examples
from ...matrix import cases
from ..journaling_leader import Book, JournalingLeader, Keeps, bare, same

encode = msgspec.msgpack.Encoder().encode
TAIL = 4096


class Few(Keeps):
    rows = 12


class Past:
    """A journal, and what the state was as of each frame in it."""

    def __init__(self, directory: Path, *, ends_with: int) -> None:
        """Runs until the newest segment has about so many bytes after its snapshot."""
        self.states: dict[int, bytes] = {}
        bot = JournalingLeader(directory, Few, segment=3000)
        while len(self.files(directory)) < 3 or not _after_snapshot(self.files(directory)[-1]) >= ends_with:
            bot.ticks()
            self.states[bot.replica.number] = picture(bot.replica)
        bot.journal.close()
        self.number = bot.replica.number
        self.bytes = {path.name: path.read_bytes() for path in self.files(directory)}
        self.newest = max(self.bytes)
        self.frames = {
            name: [(entry.end, decode_frame(entry.payload).number) for entry in _frames(data)]
            for name, data in self.bytes.items()
        }

    def files(self, directory: Path) -> list[Path]:
        return sorted(directory.glob("*.journal"))

    def put(self, directory: Path, changed: dict[str, bytes | None] | None = None) -> Path:
        """Write it out, with some of the segments changed or left out."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name, data in (self.bytes | (changed or {})).items():
            if data is not None:
                (directory / name).write_bytes(data)
        return directory


def picture(replica: Replica) -> bytes:
    """The state as of a frame, the order of rows included."""
    return encode((replica.state, list(replica.state.rows.items()), replica.timers.all(), replica.seq))


def _frames(data: bytes) -> Iterator[Entry]:
    for found in scan(data):
        if isinstance(found, Entry) and found.kind is RecordKind.FRAME:
            yield found


def _after_snapshot(path: Path) -> int:
    data = path.read_bytes()
    for entry in scan(data):
        if isinstance(entry, Entry) and entry.kind is RecordKind.WHOLE:
            return len(data) - entry.end
    return 0


def go_on(
    directory: Path, take: Any = resume, replica: Replica | None = None
) -> tuple[Replica, RecoveredJournal]:
    journal = JournalDirectory(directory, "process")
    replica = replica or bare()
    try:
        return replica, take(replica, journal)
    finally:
        journal.close()


@pytest.fixture(scope="module", params=[2900, 0], ids=["in its frames", "in its snapshot"])
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(tmp_path_factory.mktemp("past"), ends_with=request.param)


@pytest.mark.parametrize("quarter", cases(range(4), 0))
def test_a_journal_cut_at_any_of_its_last_4096_bytes_recovers_to_the_last_whole_frame(
    past: Past, tmp_path: Path, quarter: int
) -> None:
    """Where the newest segment is shorter than that, its header and its snapshot are cut too."""
    data = past.bytes[past.newest]
    before = max(number for name, ends in past.frames.items() if name < past.newest for _, number in ends)
    first = max(0, len(data) - TAIL)
    home = past.put(tmp_path / "journal")
    checked, one = 0, bare()
    for size in range(first + quarter, len(data) + 1, 4):
        (home / past.newest).write_bytes(data[:size])
        replica, found = go_on(home, resume, one)
        whole = max([number for end, number in past.frames[past.newest] if end <= size], default=-1)
        assert replica.number == max(whole, before), size
        if replica.number in past.states:
            checked += 1
            assert picture(replica) == past.states[replica.number], size
        assert found.written == replica.number
        # The one that was killed in the middle of a record: it is cut off, and that is all.
        if not found.problem:
            assert replica.position.offset == (home / past.newest).stat().st_size <= size
    assert checked > (len(data) - first) // 8


"""`checked` is all but the offsets in a few turns other than ticks."""


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10**6), st.integers(0, 7)), min_size=1, max_size=3)
)
def test_flipped_bits_shorten_a_journal_and_never_change_its_state(
    past: Past, tmp_path: Path, flips: list[tuple[int, int, int]]
) -> None:
    changed: dict[str, bytes | None] = {}
    for segment, at, bit in flips:
        name = sorted(past.bytes)[-1 - segment]
        data = bytearray(changed.get(name) or past.bytes[name])
        data[at % len(data)] ^= 1 << bit
        changed[name] = bytes(data)
    home = past.put(tmp_path / "journal", changed)
    if len(changed) == 3:
        # Perhaps all three snapshots.
        with suppress(JournalError):
            go_on(home, from_journal)
        return
    replica, found = go_on(home, from_journal)
    assert replica.number <= past.number
    assert picture(replica) == past.states.get(replica.number, picture(replica))
    if replica.number < past.number:
        assert found.damaged
    # And from there it goes on: the next worker finds the same.
    again, _ = go_on(home)
    assert same(again, replica)


def test_frames_after_a_damaged_snapshot_are_found(past: Past, tmp_path: Path) -> None:
    data = bytearray(past.bytes[past.newest])
    rows = next(e for e in scan(bytes(data)) if isinstance(e, Entry) and e.kind is RecordKind.ROWS)
    data[rows.end - 1] ^= 1
    replica, found = go_on(past.put(tmp_path / "journal", {past.newest: bytes(data)}))
    assert replica.number == past.number
    assert picture(replica) == past.states[past.number]
    # But no other worker could begin there: it goes on in a new one.
    assert found.problem
    assert replica.position == NOWHERE


def test_damaged_segments_are_kept_for_inspection(past: Past, tmp_path: Path) -> None:
    data = bytearray(past.bytes[past.newest])
    data[-1] ^= 1
    home = past.put(tmp_path / "journal", {past.newest: bytes(data)})
    bot = JournalingLeader(home, Few, at=10**18 * 2, segment=3000, worker="w2")
    (recovered,) = bot.recoveries()
    assert past.number - 1 <= recovered.number <= past.number
    assert "is damaged at byte" in recovered.problem
    assert recovered.left > 0
    bot.ticks(5)
    bot.stop()
    assert (home / past.newest).read_bytes() == data
    assert len(list(home.glob("*.journal"))) == len(past.bytes) + 1
    report = audit(read_journal(home))
    assert any("is damaged at byte" in finding.text for finding in report.broken)


def test_a_missing_middle_segment_loses_nothing(past: Past, tmp_path: Path) -> None:
    name = sorted(past.bytes)[-2]
    replica, found = go_on(past.put(tmp_path / "journal", {name: None}))
    assert (replica.number, found.problem) == (past.number, "")


def test_without_the_newest_segment_recovery_uses_the_one_before(past: Past, tmp_path: Path) -> None:
    replica, _ = go_on(past.put(tmp_path / "journal", {past.newest: None}))
    name = sorted(past.bytes)[-2]
    assert replica.number == past.frames[name][-1][1]
    assert picture(replica) == past.states.get(replica.number, picture(replica))


def test_a_journal_without_a_whole_snapshot_is_refused_with_instructions(past: Past, tmp_path: Path) -> None:
    home = past.put(tmp_path / "journal", {name: data[:100] for name, data in past.bytes.items()})
    with pytest.raises(JournalError, match=r"begins with a complete snapshot .*`neverblink up --fresh`"):
        go_on(home)


@pytest.mark.parametrize("name", ["00000001.journal", "00000099.journal"])
def test_a_segment_of_a_later_format_is_refused_and_stays_unchanged(
    past: Past, tmp_path: Path, name: str
) -> None:
    newer = b"NBLINKJ\n" + struct.pack("<HHI", 3, 3 ^ 0xFFFF, int(name[:8]))
    home = past.put(tmp_path / "journal", {name: newer + past.bytes[past.newest][HEADER_SIZE:]})
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    if name == "00000099.journal":
        with pytest.raises(JournalTooNew, match="written in format 3, this release reads up to 2"):
            go_on(home)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def test_a_decision_whose_outcome_died_with_its_turn_stays_in_doubt_when_recovery_begins_a_new_segment(
    past: Past, tmp_path: Path
) -> None:
    """The successor may die too, before it has led: what it wrote down first must name the decision as well."""
    opened = Opened("9-1-0", 9, 1, "enter", {"market": "BTC"}, 5)
    records = pack_record(RecordKind.OPENED, encode_payload(opened))
    records += pack_record(RecordKind.CLOSED, encode_payload(Closed(opened.id, 9, "done", 6)))
    home = past.put(
        tmp_path / "journal", {past.newest: past.bytes[past.newest] + records + b"no record at all"}
    )
    replica, found = go_on(home, from_journal)
    assert (replica.position.segment, found.problem) == (int(past.newest[:8]) + 1, "")
    assert [item.id for item in replica.in_doubt()] == [opened.id]
    successor, _ = go_on(home)
    assert [item.id for item in successor.in_doubt()] == [opened.id]


# --- an older format ---


def oldest(past: Past) -> bytes:
    """The newest segment as the first release wrote it: format 1, a snapshot without an end of its own."""
    head = b"NBLINKJ\n" + struct.pack("<HHI", 1, 0, 1)
    body = b""
    for entry in scan(past.bytes["00000001.journal"]):
        assert isinstance(entry, Entry)
        if entry.kind is RecordKind.SNAPSHOT:
            fields = msgspec.msgpack.decode(entry.payload)
            body += pack_record(entry.kind, msgspec.msgpack.encode(fields[:9]))
        elif entry.kind is not RecordKind.WHOLE:
            body += pack_record(entry.kind, entry.payload)
    return head + body


def test_recovery_reads_a_journal_of_the_oldest_format(past: Past, tmp_path: Path) -> None:
    home = tmp_path / "journal"
    home.mkdir()
    (home / "00000001.journal").write_bytes(oldest(past))
    last = past.frames["00000001.journal"][-1][1]
    replica, found = go_on(home)
    assert (replica.number, found.problem) == (last, "")
    assert picture(replica) == past.states[last]
    bot = JournalingLeader(home, Few, at=10**18 * 2, segment=3000, worker="w2")
    while len(list(home.glob("*.journal"))) < 2:
        bot.ticks(5)
    bot.stop()
    report = audit(read_journal(home))
    assert report.ok, report.broken
    assert report.ticks == bot.replica.state.count
    again, _ = go_on(home)
    assert same(again, bot.replica)


def test_in_the_oldest_format_a_snapshot_without_all_of_its_rows_is_not_whole(
    past: Past, tmp_path: Path
) -> None:
    home = tmp_path / "journal"
    home.mkdir()
    records = [entry for entry in scan(past.bytes[past.newest]) if isinstance(entry, Entry)]
    snapshot = decode_snapshot(records[0].payload)
    assert snapshot.tables["rows"] > 0
    head = b"NBLINKJ\n" + struct.pack("<HHI", 1, 0, 1)
    (home / "00000001.journal").write_bytes(head + pack_record(RecordKind.SNAPSHOT, records[0].payload))
    with pytest.raises(JournalError, match="begins with a complete snapshot"):
        go_on(home)


# --- followers ---


def followed(past: Past, tmp_path: Path, upto: int) -> Replica:
    """A worker that has followed up to this frame."""
    home = past.put(tmp_path / "followed")
    for name in sorted(past.bytes, reverse=True):
        ends = [end for end, number in past.frames[name] if number <= upto]
        if ends and any(number == upto for _, number in past.frames[name]):
            (home / name).write_bytes(past.bytes[name][: ends[-1]])
            break
        (home / name).unlink()
    replica, _ = go_on(home)
    assert replica.number == upto
    return replica


def test_a_follower_catches_up_through_every_segment_there_is(past: Past, tmp_path: Path) -> None:
    for upto in range(8, past.number, 23):
        replica = followed(past, tmp_path, upto)
        journal = JournalDirectory(past.put(tmp_path / "journal"), "process")
        found = catch_up(replica, journal)
        journal.close()
        assert (replica.number, found.problem, found.damaged) == (past.number, "", ())
        assert replica.position.segment == int(past.newest[:8])
        assert picture(replica) == past.states[past.number]


def test_a_follower_whose_segment_was_removed_begins_with_the_oldest_kept(past: Past, tmp_path: Path) -> None:
    replica = followed(past, tmp_path, 8)
    gone = dict.fromkeys(sorted(past.bytes)[:-1])
    journal = JournalDirectory(past.put(tmp_path / "journal", gone), "process")
    found = catch_up(replica, journal)
    journal.close()
    assert (replica.number, found.problem, found.reloaded) == (past.number, "", True)
    assert picture(replica) == past.states[past.number]


def test_a_follower_that_has_more_than_the_journal_keeps_it(past: Past, tmp_path: Path) -> None:
    """The dead leader could not write its journal any more."""
    replica = followed(past, tmp_path, past.number)
    replica.position = NOWHERE
    name = sorted(past.bytes)[-2]
    end, last = past.frames[name][-3]
    short = {past.newest: None, name: past.bytes[name][:end]}
    journal = JournalDirectory(past.put(tmp_path / "journal", short), "process")
    found = catch_up(replica, journal)
    journal.close()
    assert replica.number == past.number
    assert found.written == last
    assert "has followed to frame" in found.problem
    assert replica.position == NOWHERE


def test_a_follower_leads_with_what_it_has_when_the_journal_is_gone(past: Past, tmp_path: Path) -> None:
    replica = followed(past, tmp_path, past.number)
    journal = JournalDirectory(tmp_path / "nowhere", "process")
    found = catch_up(replica, journal)
    assert "cannot be listed: it does not exist" in found.problem
    assert (replica.number, found.written, replica.position) == (past.number, -1, NOWHERE)
    assert picture(replica) == past.states[past.number]


def test_a_follower_with_another_chain_takes_the_journals_state(past: Past, tmp_path: Path) -> None:
    """What it followed is no longer the bot: another worker has led meanwhile, from an earlier frame."""
    replica = followed(past, tmp_path, past.number)
    name = sorted(past.bytes)[-2]
    end, _ = past.frames[name][-3]
    home = past.put(tmp_path / "journal", {past.newest: None, name: past.bytes[name][:end]})
    other = JournalingLeader(home, Few, at=10**18 * 2, segment=3000, worker="w2").ticks(1)
    other.stop()
    journal = JournalDirectory(home, "process")
    found = catch_up(replica, journal)
    journal.close()
    assert found.reloaded
    assert same(replica, other.replica)


def test_a_state_that_this_code_cannot_read_is_reported_and_no_older_one_is_used(
    past: Past, tmp_path: Path
) -> None:
    """An older segment may be readable, and would be an older bot."""

    class Other(Book):
        count: str = ""  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]

    journal = JournalDirectory(past.put(tmp_path / "journal"), "process")
    with pytest.raises(StateUnreadable, match="count"):
        resume(bare(Other), journal)
    journal.close()


def _flip_in_frames(past: Past, back: int) -> bytes:
    """The newest segment with a flipped bit in one of its last frames."""
    data = bytearray(past.bytes[past.newest])
    end, _ = past.frames[past.newest][-back]
    data[end - 1] ^= 1
    return bytes(data)


def test_a_bot_whose_journal_lacks_frames_comes_back_paused_and_stays_so(past: Past, tmp_path: Path) -> None:
    if not past.frames[past.newest]:
        pytest.skip("the newest segment has no frame to lose here")
    home = past.put(tmp_path / "journal", {past.newest: _flip_in_frames(past, 1)})
    replica, found = go_on(home, from_journal)
    assert (found.lossy, replica.paused) == (True, True)
    assert found.report(replica).lossy
    # Should that one die before it has led: the next one finds it in the journal.
    again, found = go_on(home, from_journal)
    assert (found.lossy, again.paused) == (False, True)


def test_a_torn_last_record_of_a_killed_leader_pauses_nothing(past: Past, tmp_path: Path) -> None:
    torn = past.bytes[past.newest] + b"\x07half"
    home = past.put(tmp_path / "journal", {past.newest: torn})
    replica, found = go_on(home, from_journal)
    assert (replica.number, found.lossy, replica.paused) == (past.number, False, False)


def test_damage_before_a_whole_snapshot_loses_nothing_and_pauses_nothing(past: Past, tmp_path: Path) -> None:
    data = bytearray(past.bytes[past.newest])
    rows = next(e for e in scan(bytes(data)) if isinstance(e, Entry) and e.kind is RecordKind.ROWS)
    data[rows.end - 1] ^= 1
    replica, found = go_on(past.put(tmp_path / "journal", {past.newest: bytes(data)}), from_journal)
    assert (replica.number, found.lossy, replica.paused) == (past.number, False, False)


def test_a_journal_that_ends_before_what_the_leader_is_known_to_have_done_pauses_the_bot(
    past: Past, tmp_path: Path
) -> None:
    def take(replica: Replica, journal: Any) -> RecoveredJournal:
        return from_journal(replica, journal, past.number + 3)

    replica, found = go_on(past.put(tmp_path / "journal"), take)
    assert (found.lost, replica.paused) == (3, True)
    replica, found = go_on(tmp_path / "journal", from_journal)
    assert (found.lossy, replica.paused) == (False, True)
    # All of it is gone, and it is not the bot's first day.
    empty = tmp_path / "empty"
    empty.mkdir()
    replica, found = go_on(empty, take)
    assert (found.lost, replica.paused) == (past.number + 4, True)
