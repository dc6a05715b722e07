"""A worker that begins from the journal of another release: what it would lose, it refuses or leads with, paused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.model.cells import Cells
from neverblink.worker.model.inbox import Inbox
from neverblink.worker.model.migration import Migrations
from neverblink.worker.model.replica import Replica
from neverblink.worker.replication.recovery import WouldLose, begin_segment, from_journal


class Old(msgspec.Struct):
    ticks: int = 0
    realised: float = 0.0


class New(msgspec.Struct):
    ticks: int = 0
    pnl: float = 0.0


def replica(state: Any) -> Replica:
    cells = Cells(state)
    return Replica(cells, cells.schema, Migrations(), Inbox(lambda: 1, lambda: None, 100, 10**9))


@pytest.fixture
def journal(tmp_path: Path) -> JournalDirectory:
    """The journal of a bot that has earned 12.5."""
    made, old = JournalDirectory(tmp_path, "process"), replica(Old)
    old.state = Old(7, 12.5)
    old.cells.settle(old.state)
    begin_segment(old, made)
    return JournalDirectory(tmp_path, "process")


def test_a_start_that_an_operator_asked_for_is_refused_with_the_field_and_its_value(
    journal: JournalDirectory,
) -> None:
    made = replica(New)
    made.may_drop = ()
    segments = [stored.number for stored in journal.stored()]
    with pytest.raises(WouldLose) as refused:
        from_journal(made, journal)
    assert "realised = 12.5" in refused.value.message
    assert [stored.number for stored in journal.stored()] == segments


def test_a_field_that_the_operator_named_is_dropped_and_reported(journal: JournalDirectory) -> None:
    made = replica(New)
    made.may_drop = ("realised",)
    report = from_journal(made, journal).report(made)
    assert (made.state.ticks, made.state.pnl, made.paused) == (7, 0.0, False)
    assert report.changes is not None
    assert [lost.field for lost in report.changes.dropped] == ["realised"]
    assert not report.dropped


def test_a_start_after_a_crash_leads_paused_and_reports_what_is_lost(journal: JournalDirectory) -> None:
    made = replica(New)
    made.may_drop = ()
    found = from_journal(made, journal, recovers=True)
    assert made.paused
    assert found.worth_reporting
    assert "realised = 12.5" in found.report(made).dropped
    # The pause is on the disk: the next start finds it, and nothing more to lose.
    again = replica(New)
    again.may_drop = ()
    assert not from_journal(again, journal, recovers=True).dropped
    assert again.paused


def test_a_supervisor_of_an_earlier_version_starts_other_code_as_before(journal: JournalDirectory) -> None:
    made = replica(New)
    from_journal(made, journal)
    assert (made.state.ticks, made.paused) == (7, False)
