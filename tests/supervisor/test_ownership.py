"""Root in a user's home and repository: what it does there stays the user's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neverblink.supervisor.history import History
from neverblink.supervisor.home import Home, HomeError
from neverblink.supervisor.system.ownership import give_to_owner

USER = 12345

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do what this is about")


def belonging(path: Path) -> set[int]:
    return {one.lstat().st_uid for one in (path, *path.rglob("*"))}


def give(path: Path, user: int) -> None:
    for one in (path, *path.rglob("*")):
        os.lchown(one, user, user)


def test_what_root_left_in_a_users_directory_is_given_to_the_user_and_links_are_not_followed(
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


@pytest.mark.parametrize("name", ["journal", "logs/w1.log", "supervisor.log", "supervisor.db", "key"])
def test_a_link_that_another_user_planted_in_an_open_home_is_refused(tmp_path: Path, name: str) -> None:
    home, victim = tmp_path / "home", tmp_path / "victim"
    (home / "logs").mkdir(parents=True)
    home.chmod(0o777)
    link = home / name
    link.symlink_to(victim)
    os.lchown(link, USER, USER)
    with pytest.raises(HomeError, match=f"{link} is a symbolic link that user {USER} made"):
        Home.open(home)
    assert not victim.exists()
    link.unlink()
    Home.open(home)


def test_roots_own_directory_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.chown(tmp_path / "file", USER, USER)
    give_to_owner(tmp_path)
    assert (tmp_path / "file").stat().st_uid == USER


def test_a_command_that_root_gives_in_a_users_home_leaves_nothing_of_roots_there(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with History.open(home.database, "fox") as history:
        history.keep("workers", 1)
        give(home.path, USER)
        for verb in ("history", "status", "releases", "logs"):
            command = [sys.executable, "-m", "neverblink.supervisor.cli", verb, "--home", str(home.path)]
            subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
        assert belonging(home.path) == {USER}
