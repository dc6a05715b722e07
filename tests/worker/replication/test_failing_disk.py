"""The journal cannot be written: the bot ticks on, says so, and writes it again as soon as it can."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from neverblink.protocol.journal import NOWHERE, Position, RecordKind
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import read_journal
from neverblink.supervisor.audit.report import AuditReport as Audit
from neverblink.worker.journal.directory import JournalDirectory
from neverblink.worker.replication.recovery import resume

from ..file_limit import file_size_limit
from ..journaling_leader import JournalingLeader, Keeps, bare, same

SEGMENT = 1 << 20
NO_ROOM = 64
"""Not even for the snapshot of a new segment."""


class Deciding(Keeps):
    """Notes what it sees of its journal, and decides in each tick."""

    rows = 20

    def on_start(self) -> None:
        self.seen = list[bool]()

    def on_tick(self, tick: Any) -> None:
        self.seen.append(self.durable)
        super().on_tick(tick)
        with self.decision("enter", n=self.state.count):
            pass


def proven(directory: Path) -> Audit:
    return audit(read_journal(directory))


def test_a_full_disk_stops_no_tick_and_the_lost_frames_are_named(tmp_path: Path) -> None:
    bot = JournalingLeader(tmp_path, Deciding, segment=SEGMENT).ticks(5)
    written = bot.replica.number
    with file_size_limit(NO_ROOM):
        bot.ticks(10)
        failing = bot.reports()[-1].journal
        assert failing is not None
        assert "the disk is full" in failing.failing or "size limit of a file" in failing.failing
        assert failing.since
        assert bot.engine.leading.writer.unwritten >= 9
        assert bot.replica.position == NOWHERE
    # Room again: the next segment opens with all that happened meanwhile.
    while bot.engine.leading.writer.failing is not None:
        bot.ticks()
    journaled = bot.reports()[-1].journal
    assert journaled is not None
    assert journaled.segment == 2
    assert journaled.failing == ""
    bot.ticks(5)
    bot.stop()
    report = proven(tmp_path)
    assert report.ok, report.broken
    (lost,) = report.unwritten
    assert lost.first <= written + 1 < lost.last
    assert report.ticks < bot.replica.state.count
    journal = JournalDirectory(tmp_path, "process")
    replica = bare()
    resume(replica, journal)
    journal.close()
    assert same(replica, bot.replica)


def test_the_bot_can_see_that_its_decisions_are_not_durable(tmp_path: Path) -> None:
    bot = JournalingLeader(tmp_path, Deciding, segment=SEGMENT).ticks(3)
    worker: Any = bot.worker
    assert all(worker.seen)
    with file_size_limit(NO_ROOM):
        bot.ticks(3)
    assert worker.seen[-2:] == [False, False]
    while bot.engine.leading.writer.failing is not None:
        bot.ticks()
    bot.ticks()
    assert worker.seen[-1]
    bot.stop()


def test_a_decision_that_is_open_is_in_the_snapshot_that_comes_after(tmp_path: Path) -> None:
    """It was opened when nothing could be written, and its leader dies in it once the journal is well again."""
    bot = JournalingLeader(tmp_path, Keeps, segment=SEGMENT).ticks(3)
    recorder = bot.engine.leading.decisions
    with file_size_limit(NO_ROOM):
        bot.engine.leading.turns.open = True
        opened = recorder.open_decision("enter", {"market": "BTC"})
        bot.engine.leading.turns.open = False
        bot.ticks(2)
    while bot.engine.leading.writer.failing is not None:
        bot.ticks()
    journal = JournalDirectory(tmp_path, "process")
    replica = bare()
    resume(replica, journal)
    journal.close()
    assert replica.open == {opened.id: opened}


@pytest.mark.parametrize("durability", ["process", "interval", "always"])
def test_a_removed_directory_is_noticed_and_made_again(tmp_path: Path, durability: str) -> None:
    home = tmp_path / "journal"
    bot = JournalingLeader(home, Keeps, segment=SEGMENT, durability=durability).ticks(5)
    shutil.rmtree(home)
    # It is looked for about once a second.
    bot.ticks(110)
    while bot.engine.leading.writer.failing is not None:
        bot.ticks()
    failures = [report.journal.failing for report in bot.reports() if report.journal is not None]
    assert any("is no longer in place" in why for why in failures)
    bot.ticks(3)
    bot.stop()
    report = proven(home)
    assert report.ok, report.broken
    journal = JournalDirectory(home, "process")
    replica = bare()
    resume(replica, journal)
    journal.close()
    assert same(replica, bot.replica)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_read_only_directory_stops_no_tick(tmp_path: Path) -> None:
    bot = JournalingLeader(tmp_path / "journal", Keeps, segment=4096).ticks(3)
    (tmp_path / "journal").chmod(0o500)
    before = bot.replica.state.count
    bot.ticks(100)
    assert bot.replica.state.count >= before + 100
    (tmp_path / "journal").chmod(0o700)
    bot.stop()
    assert proven(tmp_path / "journal").ok


class Broken(JournalDirectory):
    """A journal on a disk that fails where it is told to."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "process")
        self.fails = ""

    def append(self, kind: RecordKind, payload: bytes) -> Position:
        self._maybe("append")
        return super().append(kind, payload)

    def begin(self) -> Any:
        self._maybe("begin")
        return super().begin()

    def _maybe(self, what: str) -> None:
        if what in self.fails:
            raise_io(what)


def raise_io(what: str) -> None:
    from neverblink.worker.journal.segment import fail

    fail(Path(what), "cannot be written", OSError(errno.EIO, "Input/output error"))


def test_a_failed_new_segment_loses_nothing_while_the_old_one_is_writable(
    tmp_path: Path,
) -> None:
    journal = Broken(tmp_path)
    bot = JournalingLeader(tmp_path, Keeps, segment=4096, journal=journal).ticks(3)
    bot.ticks(20)
    before = len(list(tmp_path.iterdir()))
    journal.fails = "begin"
    bot.ticks(300)
    assert bot.engine.leading.writer.failing is None
    assert len(list(tmp_path.iterdir())) == before
    journal.fails = ""
    while len(list(tmp_path.glob("*.journal"))) == before:
        bot.ticks()
    bot.stop()
    report = proven(tmp_path)
    assert report.ok, report.broken
    assert report.ticks == bot.replica.state.count


def test_when_the_old_segment_fails_while_the_new_one_is_written_nothing_is_lost(tmp_path: Path) -> None:
    class Slow(Deciding):
        tick = "100ms"
        rows = 100

    journal = Broken(tmp_path)
    bot = JournalingLeader(tmp_path, Slow, segment=4096, costs=1_000_000, journal=journal)
    while not list(tmp_path.glob("*.new")):
        bot.ticks()
    journal.fails = "append"
    bot.ticks()
    journal.fails = ""
    while bot.engine.leading.writer.failing is not None or len(list(tmp_path.glob("*.journal"))) < 2:
        bot.ticks()
    bot.stop()
    report = proven(tmp_path)
    assert report.ok, report.broken
    assert report.unwritten == []
    assert report.ticks == bot.replica.state.count
