"""Segments roll while the bot ticks, old segments are removed, and recovery restores the state from the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from neverblink.protocol.stream import FrameSent, leader_codec
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import read_journal
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.journal.retention import JournalLimits, Stored, segments_to_remove
from neverblink.worker.model.replica import Replica
from neverblink.worker.replication.recovery import RecoveredJournal, from_journal

from ..journaling_leader import JournalingLeader, Keeps, bare, same


def recover(directory: Path, aside: Path) -> tuple[Replica, RecoveredJournal]:
    """Recover from a copy of the journal, as a new worker does."""
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(directory, aside)
    journal = JournalDirectory(aside, "process")
    replica = bare()
    found = from_journal(replica, journal)
    journal.close()
    return replica, found


def numbers(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("*.journal"))


@pytest.mark.parametrize("durability", ["process", "interval", "always"])
def test_a_new_segment_begins_with_the_state_and_no_tick_waits_for_it(
    tmp_path: Path, durability: str
) -> None:
    bot = JournalingLeader(tmp_path / "journal", durability=durability).ticks(60)
    while len(numbers(tmp_path / "journal")) < 4:
        bot.ticks(10)
    bot.stop()
    report = audit(read_journal(tmp_path / "journal"))
    assert report.ok, report.broken
    assert report.ticks == bot.replica.state.count
    assert report.missed == report.skipped_total == 0
    assert report.decisions.opened == report.decisions.closed == report.ticks // 9


def test_a_successor_of_a_leader_killed_at_any_time_has_its_state(tmp_path: Path) -> None:
    """Also in the middle of a snapshot, whose rows are from several turns."""

    class Slow(Keeps):
        tick = "100ms"
        rows = 100

    bot = JournalingLeader(tmp_path / "journal", Slow, costs=1_000_000)
    copying = 0
    for _ in range(140):
        bot.ticks()
        copying += any((tmp_path / "journal").glob("*.new"))
        replica, found = recover(tmp_path / "journal", tmp_path / "aside")
        assert same(replica, bot.replica)
        assert (found.problem, found.left, found.damaged) == ("", 0, ())
        assert found.written == bot.replica.number
    assert len(numbers(tmp_path / "journal")) > 2
    assert copying >= 3, "no snapshot was ever under way between two ticks"


def test_a_new_leader_appends_to_the_newest_segment(tmp_path: Path) -> None:
    first = JournalingLeader(tmp_path, segment=1 << 20).ticks(30)
    first.stop()
    second = JournalingLeader(tmp_path, segment=1 << 20, at=first.clock.wall(), worker="w2").ticks(20)
    second.stop()
    assert numbers(tmp_path) == [1]
    assert second.replica.state.count >= first.replica.state.count + 20
    report = audit(read_journal(tmp_path))
    assert report.ok, report.broken
    assert report.ticks == second.replica.state.count


class Large(Keeps):
    rows = 4000


def test_a_new_leader_knows_the_size_of_the_snapshot_in_its_segment(tmp_path: Path) -> None:
    """Otherwise each new leader of a large state would begin by writing all of it again."""
    first = JournalingLeader(tmp_path, Large, segment=4096)
    while len(numbers(tmp_path)) < 3:
        first.ticks(10)
    first.ticks(5)
    first.stop()
    there = first.journal.stored()[-1].size
    assert there > 10 * 4096
    second = JournalingLeader(tmp_path, Large, segment=4096, at=first.clock.wall(), worker="w2").ticks(50)
    second.stop()
    assert numbers(tmp_path)[-1] == 3
    assert second.journal.stored()[-1].size > there


def test_a_follower_that_takes_over_knows_the_size_of_the_snapshot_from_the_stream(tmp_path: Path) -> None:
    first = JournalingLeader(tmp_path, Large, segment=4096)
    while len(numbers(tmp_path)) < 3:
        first.ticks(10)
    frame = FrameSent(b"", first.replica.position)
    followed = leader_codec.decode(leader_codec.encode(frame))
    assert isinstance(followed, FrameSent)
    first.stop()
    journal = JournalDirectory(tmp_path, "process")
    journal.settle(followed.position)
    assert followed.position.opening > 10 * 4096
    assert journal.position.opening == followed.position.opening
    journal.close()


def test_old_segments_are_removed_by_size_and_the_rest_is_a_complete_journal(tmp_path: Path) -> None:
    bot = JournalingLeader(tmp_path / "journal", keep=120_000)
    most = 0
    for _ in range(60):
        bot.ticks(20)
        most = max(most, sum(map(size_of, (tmp_path / "journal").glob("*.journal"))))
    bot.stop()
    left = numbers(tmp_path / "journal")
    assert left[0] > 3
    assert left == list(range(left[0], left[-1] + 1))
    # The newest segment grows until the next is complete; only then is the oldest removed.
    assert most < 120_000 + 3 * 60_000
    report = audit(read_journal(tmp_path / "journal"))
    assert report.ok, report.broken
    assert report.missed == 0
    assert 0 < report.ticks < bot.replica.state.count
    replica, _ = recover(tmp_path / "journal", tmp_path / "aside")
    assert same(replica, bot.replica)


def test_a_segment_rolls_only_when_its_frames_are_as_large_as_its_snapshot(tmp_path: Path) -> None:
    """Otherwise a bot with a large state would mostly write snapshots."""

    bot = JournalingLeader(tmp_path, Large, segment=4096).ticks(1500)
    bot.stop()
    snapshot = 4000 * 50
    assert bot.journal.stored()[0].size > snapshot
    frames = sum(item.size for item in bot.journal.stored()) - snapshot
    assert len(numbers(tmp_path)) - 1 <= frames // snapshot + 1


@pytest.mark.parametrize(
    ("sizes", "ages", "gone"),
    [
        ([], [], []),
        ([900], [99], []),
        ([900, 900], [99, 99], []),
        ([10, 10, 10], [0, 0, 0], []),
        ([60, 60, 10], [0, 0, 0], [1]),
        ([60, 60, 60, 10], [0, 0, 0, 0], [1, 2]),
        ([10, 10, 10, 10], [60, 9, 8, 0], [1]),
        ([10, 10, 10, 10], [9, 60, 8, 0], []),
        ([10, 10, 900, 900], [9, 9, 8, 0], [1, 2]),
    ],
)
def test_the_oldest_segments_are_removed_and_never_the_newest_two(
    sizes: list[int], ages: list[int], gone: list[int]
) -> None:
    stored = [Stored(at, size, 1000 - age) for at, (size, age) in enumerate(zip(sizes, ages, strict=True), 1)]
    assert segments_to_remove(stored, JournalLimits(segment=10, keep=100, keep_for=50), 1000) == gone


def size_of(path: Path) -> int:
    """The size of a segment, 0 when it was removed: that happens in the background."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
