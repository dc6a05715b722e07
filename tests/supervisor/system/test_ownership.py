"""Root in a user's home and repository: what it does there stays the user's."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from neverblink.supervisor.store.history_db import HistoryDb
from neverblink.supervisor.store.state_dir import Home, HomeError
from neverblink.supervisor.system.account import give_to_owner

USER = 12345

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do what this is about")


def belonging(path: Path) -> set[int]:
    return {item.lstat().st_uid for item in (path, *path.rglob("*"))}


def give(path: Path, user: int) -> None:
    for item in (path, *path.rglob("*")):
        os.lchown(item, user, user)


def test_files_that_root_created_become_the_users_and_links_are_not_followed(
    tmp_path: Path,
) -> None:
    repository, precious = tmp_path / "bot.git", tmp_path / "precious"
    (repository / "objects").mkdir(parents=True)
    precious.write_text("root's")
    give(repository, USER)
    (repository / "objects" / "ab").mkdir()
    (repository / "objects" / "ab" / "cd").write_text("pushed by root")
    (repository / "link").symlink_to(precious)
    (repository / "hard").hardlink_to(precious)
    give_to_owner(repository)
    assert precious.stat().st_uid == 0
    (repository / "hard").unlink()
    assert belonging(repository) == {USER}


PLACES = (
    *("journal", "logs", "run", "releases", "environments", "keys", "data", "repositories"),
    *("key", "tokens", "lock", "lease", "identity", "supervisor.db", "supervisor.db-wal"),
    *("status.json", "status.json.new", "control.json", "live.git", "key.new", "tokens.new", "identity.new"),
    *("journal/00000001.journal", "logs/w1.log", "logs/supervisor.log", "run/requests.sock", "keys/clients"),
    *("releases/current", "releases/r1", "repositories/bot", "data/trades.db"),
    *("environments/.running", "environments/.of", "environments/.wheels", "environments/3f9c0d1e2a4b5c6d"),
)
"""All that neverblink opens, makes, replaces or removes in a home, and what it may find there."""


@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["open", "sticky"])
@pytest.mark.parametrize("name", PLACES)
def test_a_link_that_another_user_planted_in_an_open_home_is_refused(
    tmp_path: Path, name: str, mode: int
) -> None:
    home, victim = tmp_path / "home", tmp_path / "victim"
    link = home / name
    link.parent.mkdir(parents=True, exist_ok=True)
    for place in {home, link.parent}:
        place.chmod(mode)
    link.symlink_to(victim)
    os.lchown(link, USER, USER)
    with pytest.raises(HomeError, match=f"{link} is a symbolic link that user {USER} made"):
        Home.open(home)
    assert not victim.exists()
    link.unlink()
    Home.open(home)
    assert stat.S_IMODE(home.stat().st_mode) == stat.S_IMODE(link.parent.stat().st_mode) & ~0o077


def test_a_home_that_is_itself_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    victim, home = tmp_path / "victim", tmp_path / "home"
    victim.mkdir(mode=0o755)
    home.symlink_to(victim)
    os.lchown(home, USER, USER)
    with pytest.raises(HomeError, match=f"{home} is a symbolic link that user {USER} made"):
        Home.open(home)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o755
    assert not list(victim.iterdir())


@pytest.mark.parametrize("name", [".running", "3f9c0d1e2a4b5c6d"])
def test_an_environment_of_another_user_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    home = Home.open(tmp_path / "home")
    planted = home.environments / name
    planted.mkdir()
    os.chown(planted, USER, USER)
    with pytest.raises(HomeError, match=f"{planted} belongs to user {USER}"):
        Home.open(home.path)


@pytest.mark.parametrize("verb", ["up", "check", "token", "keys"])
def test_a_command_names_the_planted_link_and_follows_none(tmp_path: Path, verb: str) -> None:
    project, home, victim = tmp_path / "fox", tmp_path / "home", tmp_path / "victim"
    project.mkdir()
    (project / "bot.py").write_text("")
    (project / "requirements.txt").write_text("--no-index\n")
    (project / "neverblink.toml").write_text('bot = "bot:Bot"\n')
    (home / "environments").mkdir(parents=True)
    home.chmod(0o1777)
    link = home / "environments" / ".wheels"
    victim.mkdir()
    link.symlink_to(victim)
    os.lchown(link, USER, USER)
    more = {"token": ("add", "anna", "--role", "viewer"), "keys": ("generate", "anna", "--out", "anna.key")}
    command = [
        sys.executable,
        "-m",
        "neverblink.supervisor.cli",
        verb,
        *more.get(verb, ()),
        "--home",
        str(home),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode == 2, done
    assert f"{link} is a symbolic link that user {USER} made" in done.stdout + done.stderr
    assert not list(victim.iterdir())


def test_a_directory_of_root_stays_unchanged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.chown(tmp_path / "file", USER, USER)
    give_to_owner(tmp_path)
    assert (tmp_path / "file").stat().st_uid == USER


def test_a_command_by_root_leaves_no_file_of_root_in_the_home_of_a_user(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with HistoryDb.open(home.database, "fox") as history:
        history.keep("workers", 1)
        give(home.path, USER)
        for verb in ("history", "status", "releases", "logs"):
            command = [sys.executable, "-m", "neverblink.supervisor.cli", verb, "--home", str(home.path)]
            subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
        assert belonging(home.path) == {USER}


def test_hooks_that_root_installs_or_removes_belong_to_the_owner_of_the_repository(tmp_path: Path) -> None:
    home, repository = Home.open(tmp_path / "home"), tmp_path / "bot.git"
    subprocess.run(["git", "init", "--quiet", "--bare", repository], check=True)
    (tmp_path / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    for place in (home.path, repository):
        give(place, USER)
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for verb in ("install", "remove"):
        command = [sys.executable, "-m", "neverblink.supervisor.cli", "hook", verb, str(repository)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**own, "HOME": str(tmp_path), "NEVERBLINK_HOME": str(home.path)},
        )
        assert done.returncode == 0, done
        assert belonging(home.path) | belonging(repository) == {USER}, verb


@pytest.mark.deep
def test_a_check_by_root_builds_nothing_in_the_home_of_the_user(tmp_path: Path) -> None:
    home, project = Home.open(tmp_path / "home"), tmp_path / "fox"
    project.mkdir()
    (project / "bot.py").write_text("")
    (project / "requirements.txt").write_text("--no-index\n")
    (project / "neverblink.toml").write_text('bot = "bot:Bot"\n')
    for place in (home.path, project):
        give(place, USER)
    command = [
        sys.executable,
        "-m",
        "neverblink.supervisor.cli",
        "check",
        "--home",
        str(home.path),
        "--no-rehearsal",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    assert "environment" in done.stdout, done
    assert belonging(home.path) == {USER}
