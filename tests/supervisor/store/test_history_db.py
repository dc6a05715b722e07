from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from neverblink.protocol.events import (
    Commanded,
    DeploymentEnded,
    Heartbeat,
    LeaderChanged,
    PhaseChanged,
    StepDone,
    WorkerExited,
)
from neverblink.supervisor.deploy.deployment import newest_deployment
from neverblink.supervisor.store.history_db import HistoryDb, HistoryError, NoSuchDeployment
from neverblink.supervisor.store.history_rows import SCHEMA, STEPS, CommitNote, PhaseNote, StepNote

BOT = "foresight"
LOG = Path("/home/logs/w1.log")


class Lock(msgspec.Struct, frozen=True):
    who: str
    why: str


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "supervisor.db"


@pytest.fixture
def history(path: Path) -> Iterator[HistoryDb]:
    with HistoryDb.open(path, BOT) as history:
        yield history


def ended(deployment: int, at: int = 900) -> DeploymentEnded:
    return DeploymentEnded(
        bot=BOT,
        at=at,
        deployment=deployment,
        outcome="done",
        reason="",
        leader="w2",
        release="r2",
        seq=4711,
        blackout=250_000,
        late=31_000,
        missed=0,
        rollback="newest state",
    )


def test_a_deployment_is_recorded_from_beginning_to_end(history: HistoryDb) -> None:
    id = history.begin("deploy", "r2", "r1", 100, who="ann", why="faster", dry_run=True)
    begun = history.deployment(id)
    assert (begun.kind, begun.release, begun.previous, begun.who, begun.why) == (
        "deploy",
        "r2",
        "r1",
        "ann",
        "faster",
    )
    assert (begun.bot, begun.dry_run, begun.begun, begun.ended, begun.outcome) == (BOT, True, 100, None, None)
    history.record(
        PhaseChanged(bot=BOT, at=200, deployment=id, phase="rehearsing", before="preparing", took=90)
    )
    history.record(
        StepDone(
            bot=BOT, at=210, deployment=id, step="rehearsed", text="rehearsed", took=10, facts={"bytes": 7}
        )
    )
    # How far a probation has come is for those who watch, and not remembered.
    history.record(StepDone(bot=BOT, at=220, deployment=id, step="probation", text="", facts={"elapsed": 1}))
    history.record(
        PhaseChanged(bot=BOT, at=300, deployment=id, phase="waiting", before="rehearsing", took=100)
    )
    history.record(ended(id))
    story = history.deployment(id)
    assert (story.ended, story.outcome, story.leader, story.runs) == (900, "done", "w2", "r2")
    assert (story.seq, story.blackout, story.late, story.missed, story.rollback) == (
        4711,
        250_000,
        31_000,
        0,
        "newest state",
    )
    assert story.phases == (
        PhaseNote(200, "rehearsing", "preparing", 90),
        PhaseNote(300, "waiting", "rehearsing", 100),
    )
    assert story.steps == (StepNote(210, "rehearsed", "rehearsed", 10, {"bytes": 7}),)


def test_deployments_are_listed_newest_first_and_never_share_a_number(history: HistoryDb, path: Path) -> None:
    ids = [history.begin("deploy", f"r{n}", "", n) for n in range(3)]
    assert [deployment.id for deployment in history.deployments()] == ids[::-1]
    assert [deployment.id for deployment in history.deployments(2)] == ids[:0:-1]
    with sqlite3.connect(path) as raw:
        raw.execute("delete from deployments")
    raw.close()
    assert history.begin("rollback", "r1", "r2", 9) == ids[-1] + 1


def test_unfinished_deployments_of_a_killed_supervisor_are_found(path: Path) -> None:
    with HistoryDb.open(path, BOT) as history:
        first, second = (history.begin("deploy", f"r{n}", "", n) for n in (1, 2))
        history.record(ended(first))
        for worker, pid in (("w1", 11), ("w2", 12)):
            history.started(worker, "r1", pid, pid * 100, LOG, at=pid)
        history.record(
            WorkerExited(bot=BOT, at=50, worker="w1", release="r1", pid=11, code=-9, reason="killed")
        )
    with HistoryDb.open(path, BOT) as history:
        assert [deployment.id for deployment in history.unfinished()] == [second]
        (left,) = history.remaining()
        assert (left.worker, left.pid, left.started, left.log, left.ended) == ("w2", 12, 1200, str(LOG), None)
        newest, oldest = history.workers()
        assert (newest.worker, oldest.worker, oldest.ended, oldest.code, oldest.reason) == (
            "w2",
            "w1",
            50,
            -9,
            "killed",
        )


def test_an_exit_with_an_unknown_code_is_recorded(history: HistoryDb) -> None:
    history.started("w1", "r1", 11, 1, LOG, at=1)
    history.record(WorkerExited(bot=BOT, at=2, worker="w1", release="r1", pid=11, code=None, reason="gone"))
    assert history.remaining() == []
    assert history.workers()[0].code is None


def test_commands_have_who_why_and_the_outcome(history: HistoryDb) -> None:
    for at, outcome in ((1, "ok"), (2, "locked")):
        history.record(
            Commanded(bot=BOT, at=at, op="deploy", who="ann", why="fix", outcome=outcome, detail="d")
        )
    newest, _ = history.commands()
    assert (newest.at, newest.op, newest.who, newest.why, newest.outcome, newest.detail) == (
        2,
        "deploy",
        "ann",
        "fix",
        "locked",
        "d",
    )


def test_leaders_are_remembered(history: HistoryDb) -> None:
    history.record(LeaderChanged(bot=BOT, at=1, worker="w1", release="r1", epoch=3, cause="handoff", seq=12))
    (leader,) = history.leaders()
    assert (leader.worker, leader.release, leader.epoch, leader.cause, leader.seq) == (
        "w1",
        "r1",
        3,
        "handoff",
        12,
    )


def test_a_pulse_is_not_recorded(history: HistoryDb) -> None:
    history.record(
        Heartbeat(
            bot=BOT, at=1, worker="w", release="r", role="leading", epoch=1, seq=1, ticks=1, skipped=0, late_max=0,
            paused=False,
        )
    )  # fmt: skip


def test_a_stored_value_is_kept_until_it_is_dropped(path: Path) -> None:
    with HistoryDb.open(path, BOT) as history:
        assert history.kept("lock", Lock) is None
        history.keep("lock", Lock("ann", "maintenance"))
        history.keep("lock", Lock("bob", "holiday"))
    with HistoryDb.open(path, BOT) as history:
        assert history.kept("lock", Lock) == Lock("bob", "holiday")
        with pytest.raises(HistoryError, match='kept as "lock"'):
            history.kept("lock", int)
        history.drop("lock")
        history.drop("lock")
        assert history.kept("lock", Lock) is None


def test_the_histories_of_two_bots_are_separate(history: HistoryDb, path: Path) -> None:
    id = history.begin("deploy", "r1", "", 1)
    history.keep("lock", 1)
    with HistoryDb.open(path, "other") as other:
        assert other.deployments() == []
        assert other.unfinished() == []
        assert other.kept("lock", int) is None
        with pytest.raises(NoSuchDeployment):
            other.deployment(id)


def test_the_error_for_an_unknown_deployment_names_the_newest(history: HistoryDb) -> None:
    with pytest.raises(NoSuchDeployment, match="there is none yet"):
        history.deployment(7)
    id = history.begin("deploy", "r1", "", 1)
    with pytest.raises(NoSuchDeployment, match=f"no deployment 7: .*the newest is {id}") as caught:
        history.deployment(7)
    assert (caught.value.deployment, caught.value.newest) == (7, id)


def test_a_reader_sees_new_entries_and_writes_nothing(history: HistoryDb, path: Path) -> None:
    with HistoryDb.open(path, BOT, read_only=True) as reader:
        id = history.begin("deploy", "r1", "", 1)
        assert reader.deployment(id).release == "r1"
        with pytest.raises(HistoryError, match="readonly"):
            reader.begin("deploy", "r2", "", 2)


def test_a_reader_needs_no_supervisor(path: Path) -> None:
    with pytest.raises(HistoryError, match="there is none yet"):
        HistoryDb.open(path, BOT, read_only=True)
    assert not path.exists()
    with HistoryDb.open(path, BOT) as history:
        id = history.begin("deploy", "r1", "", 1)
    with HistoryDb.open(path, BOT, read_only=True) as reader:
        assert reader.deployment(id).release == "r1"


def test_a_newer_schema_is_refused_with_the_remedy(path: Path) -> None:
    HistoryDb.open(path, BOT).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"pragma user_version = {SCHEMA + 1}")
    raw.close()
    for read_only in (False, True):
        with pytest.raises(
            HistoryError, match=f"has schema {SCHEMA + 1}, this neverblink knows {SCHEMA}: use"
        ):
            HistoryDb.open(path, BOT, read_only)


def test_an_older_schema_is_migrated(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        for statement in STEPS[0].split(";\n"):
            raw.execute(statement)
        raw.execute(
            "insert into deployments (bot, kind, release, previous, who, why, dry_run, begun)"
            " values ('foresight', 'deploy', 'r2', 'r1', 'ann', '', 0, 1)"
        )
        raw.execute("pragma user_version = 1")
    raw.close()
    with pytest.raises(HistoryError, match="`neverblink up` brings it up to date"):
        HistoryDb.open(path, BOT, read_only=True)
    with HistoryDb.open(path, BOT) as history:
        assert (history.deployment(1).release, history.deployment(1).commit) == ("r2", "")
        id = history.begin("deploy", "r3", "r2", 2, note=CommitNote("c0ffee", "exits", "Ann", "main"))
    with HistoryDb.open(path, BOT, read_only=True) as history:
        row = history.deployment(id)
        assert (row.commit, row.subject, row.author, row.ref) == ("c0ffee", "exits", "Ann", "main")


def test_a_file_that_is_not_a_database_is_refused_with_the_remedy(path: Path) -> None:
    path.write_bytes(b"something else, and more than a header of a hundred bytes" * 9)
    with pytest.raises(HistoryError, match="`neverblink up` sets it aside") as refused:
        HistoryDb.open(path, BOT)
    assert refused.value.damaged


def test_invalid_utf_8_from_an_earlier_version_can_be_read(history: HistoryDb, path: Path) -> None:
    id = history.begin("deploy", "r1", "", 1, why="caf\udce9")
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("update deployments set release = cast(x'636166e9' as text)")
    assert (history.deployment(id).release, history.deployment(id).why) == ("caf\\xe9", "caf\\xe9")


def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="can't be opened"):
        HistoryDb.open(tmp_path / "nowhere" / "supervisor.db", BOT)


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "supervisor.db"
    path.symlink_to(victim)
    with pytest.raises(HistoryError, match="is a symbolic link, and is not followed"):
        HistoryDb.open(path, BOT)
    assert not victim.exists()


def test_special_characters_in_a_path_have_no_meaning(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=memory#%20" / "supervisor.db"
    path.parent.mkdir()
    HistoryDb.open(path, BOT).close()
    assert path.is_file()


def test_deployment_numbers_continue_in_a_new_history(path: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    assert newest_deployment(path, logs, BOT) == 0
    with HistoryDb.open(path, BOT) as history:
        for at in range(7):
            history.begin("deploy", "r1", "", at)
    assert newest_deployment(path, logs, BOT) == 7
    HistoryDb.set_aside(path, "damaged")
    assert newest_deployment(path, logs, BOT) == 7
    # The file that was set aside may be unreadable: the logs have the warning too.
    for aside in tmp_path.glob("supervisor.db.damaged-*"):
        aside.write_bytes(b"no database")
    assert newest_deployment(path, logs, BOT) == 0
    logs.mkdir()
    (logs / "deployment-9.log").touch()
    assert newest_deployment(path, logs, BOT) == 9
