"""diff and check without a running bot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from neverblink.protocol.commands import Deploy
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.release.releases import ReleaseStore
from neverblink.supervisor.release.source import release_of, source_of
from neverblink.supervisor.store.state_dir import Home

from ..repository import Repository

BOT = """
import msgspec
from neverblink.worker import Worker

class Book(msgspec.Struct):
    ticks: int = 0

class Fox(Worker[Book]):
    tick = "1s"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "fox")
    made.write(bot_py=BOT, neverblink_toml='name = "fox"\nbot = "bot:Fox"\n')
    return made


@pytest.fixture
def home(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(repository.path)
    monkeypatch.delenv("NEVERBLINK_HOME", raising=False)
    return Home.open(repository.path / ".neverblink")


def run(*args: str) -> Result:
    return CliRunner().invoke(neverblink, list(args))


def json_of(*args: str) -> dict[str, Any]:
    return json.loads(run(*args, "--json").stdout)


def lead(home: Home, repository: Repository, id: str) -> str:
    releases = ReleaseStore(home.releases)
    source = source_of(Deploy(repository=str(repository.directory), commit=id, ref="main"))
    release, _ = release_of(source, releases)
    releases.promote(release.id)
    return release.id


def test_diff_shows_new_commits_and_removed_commits(home: Home, repository: Repository) -> None:
    repository.write(_gitignore=".neverblink\n")
    first = repository.commit("first")
    lead(home, repository, first)
    assert "no commits between them" in run("diff").stdout
    second, third = repository.commit("earlier exits"), repository.commit("later entries")
    found = json_of("diff")
    assert (found["from"], found["to"], found["undone"]) == (first, third, [])
    assert [note["subject"] for note in found["commits"]] == ["later entries", "earlier exits"]
    now = lead(home, repository, third)
    back = json_of("diff", "main~1")
    assert (back["release"], back["to"], back["commits"]) == (now, second, [])
    assert [note["subject"] for note in back["undone"]] == ["later entries"]
    assert "1 commit that runs now would be removed" in run("diff", "main~1").stdout


def test_diff_reports_when_there_is_nothing_to_compare_with(home: Home, repository: Repository) -> None:
    assert "no release has led yet" in run("diff").stderr
    releases = ReleaseStore(home.releases)
    releases.promote(releases.make(repository.path, "bot:Fox").id)
    result = run("diff")
    assert result.exit_code == Exit.BAD_INPUT
    assert "not from a commit" in result.stderr


def test_check_runs_the_check_as_a_deployment_would(home: Home, repository: Repository) -> None:
    config = repository.path / "neverblink.toml"
    text = config.read_text()
    config.write_text(f"{text}[deploy]\ncheck = \"python -c 'import bot; print(bot.Fox.tick)'\"\n")
    result = run("check")
    assert result.exit_code == Exit.DONE, result.output
    assert "    1s\n" in result.stdout
    assert [check["check"] for check in json_of("check")["checks"]] == [
        "config",
        "release",
        "check",
        "bot",
        "rehearsal",
        "state",
    ]
    config.write_text(f"{text}[deploy]\ncheck = \"python -c 'import no_such_module'\"\n")
    result = run("check")
    assert result.exit_code == Exit.BROKEN
    assert "failed (exit 1): ModuleNotFoundError: No module named 'no_such_module'" in result.stdout
    config.write_text(f'{text}[deploy]\ncheck = "no-such-program"\n')
    assert "there is no no-such-program in its environment" in run("check").stdout
