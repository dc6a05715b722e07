"""Going on from the newest state that this code can read: for cells, rows, several segments and decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neverblink.protocol.errors import NeverblinkError
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.model.replica import Replica
from neverblink.worker.replication.last_readable import resume_readable
from neverblink.worker.replication.recovery import RecoveredJournal, from_journal

from ..journaling_leader import JournalingLeader, Keeps, Row, bare


class Writes(Keeps):
    """Writes a wrong value in some ticks, counted from 1, and a right one in the others."""

    rows = 12
    wrong: frozenset[int] = frozenset()
    into = "count"

    def on_tick(self, tick: Any) -> None:
        super().on_tick(tick)
        state: Any = self.state
        n = self.ticked = getattr(self, "ticked", 0) + 1
        bad = n in self.wrong
        match self.into:
            case "notes":
                state.notes = {"n": None} if bad else {"n": n}
            case "rows":
                state.rows["mark"] = Row(None) if bad else Row(n)  # pyright: ignore[reportArgumentType]
            case "row and gone":
                if bad:
                    state.rows["mark"] = Row(None)  # pyright: ignore[reportArgumentType]
                else:
                    state.rows.pop("mark", None)
            case _:
                pass


def journal_of(
    directory: Path, ticks: int, wrong: set[int], into: str, segment: int = 1 << 20
) -> JournalingLeader:
    """A journal of so many ticks, and its leader, which reads what it wrote as it is in its memory."""
    bot = type("Bot", (Writes,), {"wrong": frozenset(wrong), "into": into})
    leader = JournalingLeader(directory, bot, segment=segment)
    # The first one ran at the start.
    leader.ticks(ticks - 1)
    leader.journal.close()
    return leader


def recover(directory: Path, *, back: bool = True) -> tuple[Replica, RecoveredJournal]:
    journal = JournalDirectory(directory, "process")
    replica = bare()
    try:
        return replica, from_journal(replica, journal, -1, resume_readable, go_back=back)
    finally:
        journal.close()


@pytest.mark.parametrize("into", ["notes", "rows", "row and gone"])
@pytest.mark.parametrize(("wrong", "newest"), [({20}, 19), ({5, 18, 19, 20}, 17), (set(range(2, 21)), 1)])
def test_the_state_is_that_of_the_newest_frame_that_can_be_read(
    tmp_path: Path, into: str, wrong: set[int], newest: int
) -> None:
    leader = journal_of(tmp_path / "journal", 20, wrong, into)
    with pytest.raises(NeverblinkError, match=r"a bug wrote a value of another one.*up --last-readable"):
        recover(tmp_path / "journal", back=False)
    replica, found = recover(tmp_path / "journal")
    assert replica.state.count == newest
    assert replica.paused
    # The chain, and the place in time, are those of the newest frame.
    assert (replica.number, replica.digest) == (leader.replica.number, leader.replica.digest)
    assert replica.seq == leader.replica.seq
    assert "left out, because this code cannot read" in found.left_out
    assert found.lost == 0
    # The next start reads it as any other.
    again, later = recover(tmp_path / "journal", back=False)
    assert (again.state.count, again.paused, later.left_out) == (newest, True, "")


@pytest.mark.parametrize("into", ["notes", "rows", "row and gone"])
def test_a_wrong_value_that_was_overwritten_keeps_no_process_from_the_newest_state(
    tmp_path: Path, into: str
) -> None:
    leader = journal_of(tmp_path / "journal", 20, {7, 8}, into)
    replica, found = recover(tmp_path / "journal", back=False)
    assert (replica.state.count, replica.paused, found.left_out) == (20, False, "")
    assert (replica.number, replica.digest) == (leader.replica.number, leader.replica.digest)
    again, _ = recover(tmp_path / "journal", back=False)
    assert again.state.count == 20


@pytest.mark.parametrize("into", ["notes", "rows"])
def test_segments_whose_snapshot_cannot_be_read_are_passed_over(tmp_path: Path, into: str) -> None:
    directory = tmp_path / "journal"
    leader = journal_of(directory, 120, set(range(40, 200)), into, segment=2500)
    assert len(list(directory.glob("*.journal"))) > 3
    replica, found = recover(directory)
    assert replica.state.count == 39
    assert replica.number == leader.replica.number
    assert "ticks" in found.left_out


def test_decisions_in_what_is_left_out_are_in_doubt(tmp_path: Path) -> None:
    # Every ninth tick makes one.
    journal_of(tmp_path / "journal", 20, set(range(12, 21)), "row and gone")
    replica, found = recover(tmp_path / "journal")
    assert [decision.args["n"] for decision in replica.in_doubt()] == [18]
    assert "made 1 decision, now in doubt" in found.left_out


def test_without_any_state_that_can_be_read_it_says_so(tmp_path: Path) -> None:
    journal_of(tmp_path / "journal", 200, set(range(1, 300)), "notes", segment=2500)
    for file in sorted((tmp_path / "journal").glob("*.journal"))[:-1]:
        file.unlink()
    with pytest.raises(NeverblinkError, match="has no older state"):
        recover(tmp_path / "journal")
