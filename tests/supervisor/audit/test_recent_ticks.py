"""The tick strip: what it shows of the last ticks, from files that a leader writes on, begins anew and removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.protocol.grid import Gap
from neverblink.protocol.journal import RecordKind, first_whole, pack_header, pack_record
from neverblink.supervisor.audit import recent_ticks as strips
from neverblink.supervisor.audit.recent_ticks import LeaderChange, RecentTick, RecentTicks, Seen

from .journal_builder import JournalBuilder, Record, write_segment


def write(directory: Path, builder: JournalBuilder, upto: int | None = None) -> None:
    """The life's segments as files, the newest one up to this many of its records."""
    for number, records in enumerate(builder.segments, 1):
        last = number == len(builder.segments)
        write_segment(directory, number, records[:upto] if last else records)


def seqs(seen: list[Seen]) -> list[int]:
    return [event.seq for event in seen if isinstance(event, RecentTick)]


def test_ticks_have_their_worker_and_times_and_a_handoff_is_reported(tmp_path: Path) -> None:
    builder = JournalBuilder(seq=100).begin("w1", "v1").tick(late=300)
    builder.lead("w2", "handoff", release="v2", deployment=7, blackout=210_000).tick()
    write(tmp_path, builder)
    strip = RecentTicks(tmp_path)
    assert strip.look() == 4
    first, tick, change, after = strip.since()
    assert isinstance(first, LeaderChange)
    assert (first.worker, first.cause) == ("w1", "first")
    assert isinstance(tick, RecentTick)
    assert (tick.seq, tick.worker, tick.release, tick.due) == (101, "w1", "v1", 101 * builder.interval)
    assert (tick.late, tick.took, tick.began) == (300, 2_000_000, 101 * builder.interval + 300)
    assert isinstance(change, LeaderChange)
    assert (change.worker, change.before, change.release) == ("w2", "w1", "v2")
    assert (change.cause, change.deployment, change.blackout, change.seq) == ("handoff", 7, 210_000, 101)
    assert isinstance(after, RecentTick)
    assert (after.worker, after.epoch) == ("w2", 2)


def test_ticks_that_did_not_run_are_counted_by_their_kind(tmp_path: Path) -> None:
    builder = JournalBuilder(seq=100).begin().tick()
    builder.tick(Gap(102, 103, "skipped", "overrun"), Gap(104, 106, "missed", "dead"))
    write(tmp_path, builder)
    strip = RecentTicks(tmp_path)
    strip.look()
    tick = strip.since()[-1]
    assert isinstance(tick, RecentTick)
    assert (tick.seq, tick.skipped, tick.missed) == (107, 2, 3)


def test_reading_continues_across_torn_ends_and_new_segments(tmp_path: Path) -> None:
    builder = JournalBuilder(seq=0).begin().ticks(3)
    whole = len(builder.records)
    write(tmp_path, builder)
    strip = RecentTicks(tmp_path)
    strip.look()
    seen = strip.since()
    place = (seen[-1].epoch, seen[-1].number)
    assert seqs(seen) == [1, 2, 3]
    assert strip.look() == 0
    assert strip.since(place) == []
    # Half a record is not shown, and is when its other half has come.
    builder.ticks(1)
    path = tmp_path / "00000001.journal"
    record = pack_record(*builder.records[whole])
    with path.open("ab") as file:
        file.write(record[:20])
        file.flush()
        assert strip.look() == 0
        file.write(record[20:])
    assert strip.look() == 1
    # The frames of the time in which the next segment's snapshot is written are in both.
    builder.segment()
    builder.records.insert(1, builder.segments[0][-1])
    builder.ticks(2)
    write(tmp_path, builder)
    assert strip.look() == 2
    assert seqs(strip.since(place)) == [4, 5, 6]
    path.unlink()
    builder.ticks(1)
    write_segment(tmp_path, 2, builder.records)
    strip.look()
    assert seqs(strip.since())[-1] == 7


def test_the_journal_that_replaces_one_set_aside_is_read(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    write(journal, JournalBuilder(seq=500).begin("w1").ticks(9))
    strip = RecentTicks(journal)
    strip.look()
    journal.rename(tmp_path / "aside")
    assert strip.look() == 0
    write(journal, JournalBuilder(seq=900).begin("w2").ticks(2))
    strip.look()
    strip.look()
    # A reader whose position is beyond the end of the new journal gets all of it.
    assert seqs(strip.since((1, 9))) == [901, 902]


def test_only_the_end_of_a_long_journal_is_read_and_the_worker_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "_TAIL", 2000)
    builder = JournalBuilder(seq=0).begin("w1", "v1").ticks(50)
    builder.hand("w2", "v2").ticks(50)
    builder.segment(led_by="w2").ticks(400)
    write(tmp_path, builder)
    strip = RecentTicks(tmp_path)
    strip.look()
    shown = seqs(strip.since())
    newest = [seq for seq in shown if seq > 100]
    assert 5 < len(newest) < 100
    assert newest == list(range(newest[0], 501))
    assert {entry.worker for entry in strip.since()} == {"w2"}
    assert min(shown) > 50
    # A reader that reads rarely skips what is too old, and continues.
    builder.ticks(300)
    write_into(tmp_path / "00000002.journal", builder.records[-300:])
    strip.look()
    assert seqs(strip.since())[-1] == 800


def test_only_the_requested_number_of_ticks_is_kept(tmp_path: Path) -> None:
    write(tmp_path, JournalBuilder(seq=0).begin().ticks(30))
    strip = RecentTicks(tmp_path, most=10)
    strip.look()
    assert seqs(strip.since()) == list(range(21, 31))


def test_damage_hides_only_ticks_up_to_the_next_segment(tmp_path: Path) -> None:
    builder = JournalBuilder(seq=0).begin().ticks(5)
    write(tmp_path, builder)
    path = tmp_path / "00000001.journal"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    strip = RecentTicks(tmp_path)
    strip.look()
    assert seqs(strip.since()) == [1, 2, 3, 4]
    builder.segment().ticks(2)
    write_segment(tmp_path, 2, builder.records)
    strip.look()
    assert seqs(strip.since()) == [1, 2, 3, 4, 6, 7]


def test_a_missing_journal_and_foreign_files_give_no_ticks(tmp_path: Path) -> None:
    strip = RecentTicks(tmp_path / "none")
    assert strip.look() == 0
    (tmp_path / "00000001.journal").write_bytes(b"something else, and long enough")
    (tmp_path / "00000002.journal").write_bytes(pack_header(2)[:5])
    strip = RecentTicks(tmp_path)
    assert strip.look() == 0
    assert strip.since() == strip.since((4, 4)) == []


def test_a_record_is_found_between_others() -> None:
    one = pack_record(RecordKind.CLOSED, b"abcd" * 5)
    two = pack_record(RecordKind.OPENED, b"")
    assert first_whole(one + two) == 0
    assert first_whole((one + two)[1:]) == len(one) - 1
    assert first_whole(one[1:] + b"\0" * 40) is None
    assert first_whole(two[:-1]) is None
    assert first_whole(b"") is None


def write_into(path: Path, records: list[Record]) -> None:
    with path.open("ab") as file:
        file.write(b"".join(pack_record(*record) for record in records))
