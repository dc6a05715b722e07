"""Segments roll while the bot goes on, old ones go, and recovery finds the same bot in whatever is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from neverblink.protocol.stream import FrameSent, leader_codec
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import read_journal
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.journal.retention import Limits, Stored, surplus
from neverblink.worker.model.replica import Replica
from neverblink.worker.replication.recovery import RecoveredJournal, from_journal

from ..journaling_leader import JournalingLeader, Keeps, bare, same


def recover(directory: Path, aside: Path) -> tuple[Replica, RecoveredJournal]:
    """Go on from a copy of the journal, as a new worker would."""
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
def test_a_new_segment_opens_with_the_state_and_the_bot_never_waited(tmp_path: Path, durability: str) -> None:
    bot = JournalingLeader(tmp_path / "journal", durability=durability).ticks(60)
    while len(numbers(tmp_path / "journal")) < 4:
        bot.ticks(10)
    bot.stop()
    report = audit(read_journal(tmp_path / "journal"))
    assert report.ok, report.broken
    assert report.ticks == bot.replica.state.count
    assert report.missed == report.skipped_total == 0
    assert report.decisions.opened == report.decisions.closed == report.ticks // 9


def test_whenever_the_leader_is_killed_its_successor_is_the_same_bot(tmp_path: Path) -> None:
    """Also in the middle of a snapshot, whose rows are of many moments."""

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


def test_a_leader_goes_on_in_the_segment_that_it_found(tmp_path: Path) -> None:
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


def test_a_leader_that_goes_on_in_a_segment_knows_how_much_of_it_is_the_snapshot(tmp_path: Path) -> None:
    """Else each one that takes over a large state would begin by writing all of it anew."""
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


def test_a_follower_that_takes_over_knows_it_from_the_stream(tmp_path: Path) -> None:
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


def test_old_segments_go_by_size_and_what_is_left_is_a_journal(tmp_path: Path) -> None:
    bot = JournalingLeader(tmp_path / "journal", keep=120_000)
    most = 0
    for _ in range(60):
        bot.ticks(20)
        most = max(most, sum(map(size_of, (tmp_path / "journal").glob("*.journal"))))
    bot.stop()
    left = numbers(tmp_path / "journal")
    assert left[0] > 3
    assert left == list(range(left[0], left[-1] + 1))
    # The one at hand grows until the next is whole, and only then the oldest goes.
    assert most < 120_000 + 3 * 60_000
    report = audit(read_journal(tmp_path / "journal"))
    assert report.ok, report.broken
    assert report.missed == 0
    assert 0 < report.ticks < bot.replica.state.count
    replica, _ = recover(tmp_path / "journal", tmp_path / "aside")
    assert same(replica, bot.replica)


def test_a_segment_has_as_much_after_its_snapshot_as_the_snapshot_has(tmp_path: Path) -> None:
    """Else a bot with a large state would write little but snapshots."""

    bot = JournalingLeader(tmp_path, Large, segment=4096).ticks(1500)
    bot.stop()
    snapshot = 4000 * 50
    assert bot.journal.stored()[0].size > snapshot
    frames = sum(one.size for one in bot.journal.stored()) - snapshot
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
def test_what_goes_is_the_oldest_and_never_one_of_the_newest_two(
    sizes: list[int], ages: list[int], gone: list[int]
) -> None:
    stored = [Stored(at, size, 1000 - age) for at, (size, age) in enumerate(zip(sizes, ages, strict=True), 1)]
    assert surplus(stored, Limits(segment=10, keep=100, keep_for=50), 1000) == gone


def size_of(path: Path) -> int:
    """Its size; 0 once it has gone, which may be at any moment: the oldest are removed beside the loop."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
