"""init, history, releases, logs, send: what needs no daemon, or only its answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from neverblink.protocol.commands import Command, Send
from neverblink.protocol.events import DeploymentEnded, PhaseChanged, StepDone
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.config.config import load
from neverblink.supervisor.release.releases import ReleaseStore
from neverblink.supervisor.store.history_db import HistoryDb
from neverblink.supervisor.store.history_rows import CommitNote
from neverblink.supervisor.store.state_dir import Home

from ..fake_supervisor import FakeSupervisor

BOT = "foresight"
CLI = [sys.executable, "-m", "neverblink.supervisor.cli"]


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(neverblink, [str(arg) for arg in args])


def json_of(result: Result) -> dict[str, Any]:
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def past(home: Home) -> Iterator[HistoryDb]:
    with HistoryDb.open(home.database, BOT) as history:
        yield history


def worker(home: Home, past: HistoryDb, name: str, release: str, text: str) -> Path:
    log = home.logs / f"{name}.log"
    log.write_text(text)
    past.started(name, release, 1, 1, log, int(name[1:]))
    return log


def test_init_writes_a_bot_and_overwrites_nothing(tmp_path: Path) -> None:
    place = tmp_path / "my bot"
    assert json_of(run("init", place, "--json"))["name"] == "my-bot"
    assert load(place).bot == "bot:Starter"
    before = (place / "bot.py").read_text()
    result = run("init", place)
    assert result.exit_code == Exit.BAD_INPUT
    assert "never overwrites a file" in result.stderr
    assert (place / "bot.py").read_text() == before
    assert run("init", place / "bot.py").exit_code == Exit.BAD_INPUT
    assert run("init", tmp_path / "x", "--name", "no name").exit_code == Exit.BAD_INPUT


def test_history_works_without_a_supervisor(home: Home, past: HistoryDb) -> None:
    past.started("w1", "v1", 1, 1, home.logs / "w1.log", 1)
    id = past.begin("deploy", "v2", "v1", 1, who="anna", why="exits")
    past.record(StepDone(bot=BOT, at=2, deployment=id, step="spawned", text="worker w2", took=5))
    past.record(PhaseChanged(bot=BOT, at=3, deployment=id, phase="rehearsing", before="preparing", took=6))
    past.record(
        DeploymentEnded(
            bot=BOT, at=4, deployment=id, outcome="aborted", reason="exit 1", leader="w1", release="v1"
        )
    )
    assert json_of(run("history", "--home", home.path, "--json"))["deployments"][0]["outcome"] == "aborted"
    assert "anna" in run("history", "--home", home.path).stdout
    shown = run("history", str(id), "--home", home.path).stdout
    assert "exit 1" in shown
    assert "spawned" in shown
    assert "[rehearsing]" in shown
    missing = run("history", "99", "--home", home.path)
    assert missing.exit_code == Exit.BAD_INPUT
    assert f"the newest is {id}" in missing.stderr


def test_history_shows_for_each_deployment_who_when_what_how_long_and_why(
    home: Home, past: HistoryDb
) -> None:
    past.started("w1", "v1", 1, 1, home.logs / "w1.log", 1)
    long = "a subject that goes on and on, " * 5 + "and ends"
    note = CommitNote("1a2b3c4d" * 5, long, "Anna <anna@example.org>", "main")
    who = "a-user-with-a-long-name@a-host-with-a-long-name"
    id = past.begin("deploy", "v2", "v1", 1_000_000_000, who=who, why="they were late", note=note)

    def entered(at: int, phase: str, before: str, took: int) -> None:
        past.record(PhaseChanged(bot=BOT, at=at, deployment=id, phase=phase, before=before, took=took))

    entered(1_000_000_000, "building", "", 0)
    entered(2_200_000_000, "preparing", "building", 1_200_000_000)
    entered(2_612_000_000, "rehearsing", "preparing", 412_000_000)
    reason = "sold twice, " * 12 + "and died"
    past.record(
        DeploymentEnded(
            bot=BOT,
            at=2_630_000_000,
            deployment=id,
            outcome="rolled_back",
            reason=reason,
            leader="w1",
            release="v1",
            seq=7,
            blackout=210_000,
            missed=1,
        )
    )
    other = past.begin("rollback", "v1", "v2", 3_000_000_000, who="anna")
    past.record(
        PhaseChanged(bot=BOT, at=3_000_000_000, deployment=other, phase="building", before="", took=0)
    )
    past.record(
        DeploymentEnded(
            bot=BOT,
            at=3_500_000_000,
            deployment=other,
            outcome="aborted",
            reason="no uv",
            leader="w1",
            release="v1",
        )
    )
    lines = run("history", "--home", home.path).stdout.splitlines()
    assert max(map(len, lines)) <= 100, lines
    at = next(at for at, line in enumerate(lines) if line.lstrip().startswith(f"{id} "))
    head, below = lines[at], " ".join(" ".join(lines[at + 1 :]).split())
    assert ["rolled back" in head, "a-user-with" in head, "0.21 ms" in head, head.endswith(" 1")] == [
        True
    ] * 4
    assert f"1a2b3c4d {long}: they were late" in below
    assert "building 1.2 s, preparing 412 ms, rehearsing 18 ms" in below
    assert "sold twice, sold twice" in below
    # What ended in the middle of a phase was in it until then.
    assert "building 500 ms" in lines[3]
    assert lines[4].strip() == "no uv"
    rows = json_of(run("history", "--home", home.path, "--json"))["deployments"]
    assert [row["id"] for row in rows] == [other, id]
    assert [note["phase"] for note in rows[1]["phases"]] == ["building", "preparing", "rehearsing"]
    assert (rows[1]["who"], rows[1]["author"], rows[1]["blackout"]) == (who, note.author, 210_000)
    story = run("history", str(id), "--home", home.path).stdout
    assert "[rehearsing] 18 ms" in " ".join(story.split())


@pytest.mark.parametrize("verb", ["history", "releases", "logs"])
def test_before_the_first_up_the_history_is_empty(verb: str, tmp_path: Path) -> None:
    result = run(verb, "--home", tmp_path / "none")
    assert result.exit_code == Exit.BAD_INPUT
    assert "`neverblink up`" in result.stderr


def test_releases_marks_the_leading_one(home: Home, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "bot.py").write_text("")
    store = ReleaseStore(home.releases)
    first = store.make(tmp_path / "code", "bot:Bot")
    (tmp_path / "code" / "bot.py").write_text("x = 1\n")
    second = store.make(tmp_path / "code", "bot:Bot")
    store.promote(first.id)
    store.promote(second.id)
    answer = json_of(run("releases", "--home", home.path, "--json"))
    assert (answer["current"], answer["previous"]) == (second.id, first.id)
    marks = {line.split()[1]: line[0] for line in run("releases", "--home", home.path).stdout.splitlines()}
    assert marks == {second.id: "*", first.id: "-"}


def test_send_takes_arguments_as_json_or_as_text(tmp_path: Path) -> None:
    def reply(command: Command) -> dict[str, Any]:
        assert isinstance(command, Send)
        return {"value": command.args, "seq": 5}

    with FakeSupervisor(tmp_path, {"send": reply}):
        answer = json_of(
            run("send", "size", "pct=2.5", "market=BTC", "on=true", "--home", tmp_path, "--json")
        )
        assert answer == {"value": {"pct": 2.5, "market": "BTC", "on": True}, "seq": 5}
        assert json_of(run("send", "size", "--args", '{"a": [1]}', "--home", tmp_path, "--json"))[
            "value"
        ] == {"a": [1]}
        for wrong in (("size", "pct"), ("size", "--args", "[1]"), ("size", "--within", "3")):
            assert run("send", *wrong, "--home", tmp_path).exit_code == Exit.BAD_INPUT


def test_a_lock_shows_its_reason(tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path, {"lock": {"lock": {"why": "freeze"}}}) as supervisor:
        assert run("lock", "--home", tmp_path).exit_code == Exit.BAD_INPUT
        assert run("lock", "-m", " ", "--home", tmp_path).exit_code == Exit.BAD_INPUT
        assert run("lock", "-m", "freeze", "--home", tmp_path).exit_code == Exit.DONE
        assert [command.why for command in supervisor.asked] == ["freeze"]


def test_the_shell_completes_commands_and_releases(home: Home, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "bot.py").write_text("")
    id = ReleaseStore(home.releases).make(tmp_path / "code", "bot:Bot").id

    def complete(*words: str) -> list[str]:
        return [
            found.value
            for found in ShellComplete(neverblink, {}, "neverblink", "").get_completions(
                [*words[:-1]], words[-1]
            )
        ]

    assert complete("rel") == ["releases"]
    assert complete("deploy", "--no") == ["--no-wait"]
    assert complete("rollback", "--home", str(home.path), id[:4]) == [id]
    assert complete("rollback", "--home", str(tmp_path / "none"), "") == []
