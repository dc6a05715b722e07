"""What `up` starts: the release that led last, whatever is in the project, whatever happened to its files."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from neverblink.protocol.commands import Deploy, Releases
from neverblink.protocol.events import DeploymentEnded
from neverblink.protocol.lease import Holder, encode_record, slot_of
from neverblink.supervisor.bot.bring_up import StartFailed
from neverblink.supervisor.config.config import ConfigError
from neverblink.supervisor.deploy.first_release import Chosen
from neverblink.supervisor.store.history_db import HistoryDb

from ..supervisor_harness import SupervisorHarness


@pytest.fixture
def harness(tmp_path: Path) -> SupervisorHarness:
    found = SupervisorHarness(tmp_path)
    found.within *= 3
    return found


def runs(harness: SupervisorHarness, code: Path, chosen: Chosen | None = None) -> str:
    """The release that leads after an `up` in this project."""
    found: list[str] = []

    async def scenario(harness: SupervisorHarness) -> None:
        found.append((await harness.running())["release"])

    assert harness.play(scenario, code, chosen=chosen) == 0
    return found[0]


def fails(harness: SupervisorHarness, code: Path, chosen: Chosen | None = None) -> None:
    """Run an `up` that ends by itself."""
    harness.play(
        lambda harness: asyncio.wait_for(asyncio.shield(harness.exit), harness.within), code, chosen=chosen
    )


def two_releases(harness: SupervisorHarness, code: Path) -> tuple[str, str]:
    """Have the code lead, and then another one; return the releases."""
    found: list[str] = []

    async def scenario(harness: SupervisorHarness) -> None:
        found.append((await harness.running())["release"])
        assert (await harness.deploy(harness.code("other"))).error is None
        found.append((await harness.status())["release"])

    assert harness.play(scenario, code) == 0
    return found[0], found[1]


def damage(harness: SupervisorHarness, release: str, how: Callable[[Path], object]) -> None:
    """Do what a power cut does: to bot.py of the release."""
    place = harness.home.releases / release
    place.chmod(0o700)
    file = place / "bot.py"
    file.chmod(0o600)
    how(file)


def empty(file: Path) -> None:
    file.write_text("")


def test_a_rolled_back_release_does_not_lead_after_down_and_up(harness: SupervisorHarness) -> None:
    code = harness.code("v1")

    async def scenario(harness: SupervisorHarness) -> None:
        status = await harness.running()
        # In place, as an author does.
        (code / "script.json").write_text('{"crash_ms": 50}')
        answer = await harness.deploy(code)
        assert answer.error is not None
        assert answer.error.code == "rolled-back"
        found.append(status["release"])

    found: list[str] = []
    assert harness.play(scenario, code) == 0
    assert runs(harness, code) == found[0]
    output = harness.screen.getvalue()
    assert f"continuing with release {found[0]}, which led last" in output
    assert f"`neverblink up --from {code}` starts with it" in output


def test_a_release_whose_deployment_was_aborted_does_not_lead_after_up(harness: SupervisorHarness) -> None:
    """Its worker had taken the lease and died before it could report it. So did the worker before it."""
    code = harness.code("v1")
    first = runs(harness, code)
    with HistoryDb.open(harness.home.path / "supervisor.db", "fox") as history:
        number = history.begin("deploy", "r9", first, 5)
        history.started("w9", "r9", 1, 1, harness.tmp / "w9.log", 5)
        history.record(
            DeploymentEnded(
                bot="fox", at=6, deployment=number, outcome="aborted", reason="both workers ended", leader="",
                release="", seq=None, blackout=None, late=None, missed=0, rollback="",
            )
        )  # fmt: skip
    lease = harness.home.lease
    with lease.open("r+b") as file:
        file.seek(slot_of(90))
        file.write(encode_record(Holder(90, 1, 1, "w9")))
    assert runs(harness, code) == first
    assert "which led last, is lost" not in harness.screen.getvalue()


def test_up_ignores_a_broken_project_unless_from_names_it(harness: SupervisorHarness) -> None:
    code = harness.code("v1")
    first = runs(harness, code)
    (code / "script.json").write_text("{")
    assert runs(harness, code) == first
    with pytest.raises(StartFailed):
        fails(harness, code, Chosen(code))
    # A release that could not be started has not led, so it is not the one to continue with.
    assert runs(harness, code) == first
    second = runs(harness, harness.code("v1", tick_ms=30), Chosen(code))
    assert second != first
    assert runs(harness, code) == second
    assert runs(harness, code, Chosen(release=first)) == first


def test_a_project_with_the_same_code_is_not_reported_as_different(harness: SupervisorHarness) -> None:
    code = harness.code("v1")
    first = runs(harness, code)
    assert runs(harness, code) == first
    assert "differs from it" not in harness.screen.getvalue()


def test_code_of_another_bot_is_refused(harness: SupervisorHarness) -> None:
    runs(harness, harness.code("v1"))
    other = harness.code("v2")
    toml = other / "neverblink.toml"
    toml.write_text(toml.read_text().replace('name = "fox"', 'name = "wolf"'))
    with pytest.raises(ConfigError, match='this home holds the bot "fox"'):
        fails(harness, harness.tmp / "v1", Chosen(other))


@pytest.mark.parametrize("how", [empty, Path.unlink])
def test_a_damaged_release_is_made_again_from_its_directory(
    harness: SupervisorHarness, how: Callable[[Path], object]
) -> None:
    code = harness.code("v1")
    first = runs(harness, code)
    damage(harness, first, how)
    assert runs(harness, code) == first
    assert f"release {first} was made again from {code}" in harness.screen.getvalue()
    assert (harness.home.releases / first / "bot.py").read_text() == (code / "bot.py").read_text()


def test_a_removed_release_is_made_again_from_a_project_with_its_code(harness: SupervisorHarness) -> None:
    code = harness.code("v1")
    first = runs(harness, code)
    for path in harness.home.releases.glob("*"):
        path.chmod(0o700)
    shutil.rmtree(harness.home.releases)
    assert runs(harness, code) == first
    assert f"release {first} was made again from {code}" in harness.screen.getvalue()


def test_a_damaged_release_that_cannot_be_made_again_is_replaced_by_the_previous_one(
    harness: SupervisorHarness,
) -> None:
    code = harness.code("v1")
    first, second = two_releases(harness, code)
    damage(harness, second, empty)
    shutil.rmtree(harness.tmp / "other")
    assert runs(harness, code) == first
    assert (
        f"release {second}, which led last, is lost: continuing with release {first}"
        in harness.screen.getvalue()
    )


def test_a_release_of_a_commit_is_made_again_even_without_its_manifest(harness: SupervisorHarness) -> None:
    code = harness.code("v1")

    def git(*words: str) -> str:
        answer = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
            cwd=code,
            check=True,
            capture_output=True,
        )
        return answer.stdout.decode().strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    found: list[str] = []

    async def scenario(harness: SupervisorHarness) -> None:
        await harness.running()
        command = Deploy(commit=commit, repository=str(code / ".git"), wait=True)
        assert (await harness.ask(command)).error is None
        found.append((await harness.ask(Releases())).result["current"])

    assert harness.play(scenario, code) == 0
    (release,) = found
    (code / "bot.py").write_text("half edi")
    damage(harness, release, empty)
    manifest = harness.home.releases / release / ".release.json"
    manifest.chmod(0o600)
    manifest.write_text("")
    assert runs(harness, code) == release
    assert f"release {release} was made again from commit {commit[:8]}" in harness.screen.getvalue()


def test_up_keeps_starting_a_bot_that_has_led_before(harness: SupervisorHarness, tmp_path: Path) -> None:
    away = tmp_path / "away"
    code = harness.code("v1", fails_while=str(away))
    away.touch()
    with pytest.raises(StartFailed) as failed:
        fails(harness, code)
    assert "this bot has never led, so it is not tried again" in failed.value.message
    away.unlink()
    first = runs(harness, code)
    away.touch()

    async def scenario(harness: SupervisorHarness) -> None:
        # The exchange is away when the machine comes back.
        await harness.until(lambda status: status["next_start"] is not None)
        away.unlink()
        assert (await harness.running())["release"] == first

    assert harness.play(scenario, code) == 0
