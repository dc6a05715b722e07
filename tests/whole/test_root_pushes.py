"""Root pushes through the hook into a user's repository, whose bot runs as that user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from ..as_user import as_user
from ..files import entries_below
from .bots import COUNTER
from .live import WITHIN, Live
from .pushing import HANDED

USER = 12345

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@pytest.fixture
def live() -> Generator[Live]:
    """A user's directory, with commands that run as that user."""
    top = Path(tempfile.mkdtemp(prefix="neverblink-user-"))
    top.chmod(0o755)
    os.chown(top, USER, USER)
    here = Live(top)
    here.user = USER
    here.environment["HOME"] = str(top)
    try:
        yield here
    finally:
        here.close()
        shutil.rmtree(top)


class Repository:
    """The user's bare repository, and a working tree of `pusher`, who is 0 for root."""

    def __init__(self, live: Live, *options: str) -> None:
        self._live = live
        self.bare = live.tmp / "live.git"
        self.git(USER, live.tmp, "init", "--quiet", "--bare", str(self.bare))
        # Git packs after each push, in the background.
        for name in ("receive.unpackLimit", "gc.autoPackLimit"):
            self.git(USER, self.bare, "config", name, "1")
        installed = live.run("hook", "install", self.bare, *options)
        assert installed.code == 0, installed

    def git(self, user: int, where: Path, *words: str) -> str:
        done = self._run(user, where, *words)
        assert done.returncode == 0, done.stderr
        return done.stderr.replace("remote: ", "")

    def push(self, user: int, work: Path, code: str, *words: str) -> str:
        """Commit `code` as the user and push it with `words`; return what git printed."""
        (work / "bot.py").write_text(code)
        self.git(user, work, "add", "--all")
        self.git(user, work, "commit", "--quiet", "--message", "A change")
        done = self._run(user, work, "push", *words, str(self.bare), "HEAD:main")
        return done.stderr.replace("remote: ", "")

    def work(self, user: int, name: str, code: Path) -> Path:
        """A clone of the user's with the project in it."""
        place = self._live.tmp / name
        place.mkdir()
        os.chown(place, user, user)
        self.git(user, self._live.tmp, "clone", "--quiet", str(self.bare), str(place))
        shutil.copy(code / "neverblink.toml", place)
        return place

    def _run(self, user: int, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
        # For root too: the hook switches to the user, who must find the interpreter.
        own = {name: value for name, value in self._live.environment.items() if not name.startswith("GIT_")}
        for who in ("AUTHOR", "COMMITTER"):
            own |= {f"GIT_{who}_NAME": "Anna", f"GIT_{who}_EMAIL": "anna@example.org"}
        # An administrator who works in other users' repositories sets this.
        trusting = ("-c", "safe.directory=*") if user == 0 else ()
        config = self._live.tmp / "trusting"
        config.write_text("[safe]\n\tdirectory = *\n")
        own["GIT_CONFIG_GLOBAL"] = str(config)
        command = as_user(user, "git", *trusting, *words)
        return subprocess.run(command, cwd=where, env=own, capture_output=True, text=True, check=False)


def of_root(*places: Path) -> list[Path]:
    return [path for path, status in entries_below(*places) if status.st_uid == 0]


def nothing_of_root(*places: Path) -> None:
    """Git may still be at work in the background when a push has ended."""
    until = time.monotonic() + WITHIN
    while found := of_root(*places):
        assert time.monotonic() < until, found
        time.sleep(0.05)


def tidied_up(bare: Path) -> None:
    """Wait until git has packed the repository, which it does in the background."""
    until = time.monotonic() + WITHIN
    while not (bare / "packed-refs").exists():
        assert time.monotonic() < until, "git has not tidied up"
        time.sleep(0.05)


@pytest.mark.parametrize("gate", [False, True], ids=["plain", "gate"])
def test_a_push_by_root_leaves_no_file_owned_by_root_and_the_user_can_still_deploy_and_push(
    live: Live, gate: bool
) -> None:
    code = live.code("fox", COUNTER)
    for place in (code, *code.iterdir()):
        os.chown(place, USER, USER)
    live.up(code)
    repository = Repository(live, *(["--gate"] if gate else []))
    roots = repository.work(0, "roots", code)
    theirs = (repository.bare, live.home, code)
    for turn in range(2):
        pushed = repository.push(0, roots, f"{COUNTER}# {turn}\n")
        assert HANDED.search(pushed), pushed
        nothing_of_root(*theirs)
    tidied_up(repository.bare)
    broken = repository.push(0, roots, "raise ValueError('broken')\n")
    assert "broken" in broken
    nothing_of_root(*theirs)
    repository.git(0, roots, "push", str(repository.bare), "HEAD~1:refs/heads/other", "HEAD~1:refs/tags/v1")
    repository.git(0, roots, "push", str(repository.bare), ":refs/heads/other")
    nothing_of_root(*theirs)

    deployed = live.run("deploy", code)
    assert deployed.code == 0, deployed
    mine = repository.work(USER, "mine", code)
    pushed = repository.push(USER, mine, f"{COUNTER}# the user's\n", "--force")
    assert HANDED.search(pushed), pushed
    live.down()
    live.up(code)
    live.ticks_on()
    live.down()
    nothing_of_root(*theirs)
    assert live.audit()["doubled"] == 0
