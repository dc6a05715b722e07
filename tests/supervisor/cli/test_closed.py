"""Commands by a user without access to the home: a clear error that names the owner and the remedy."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.store.history_db import HistoryDb
from neverblink.supervisor.store.state_dir import Home

from .test_history import BOT, json_of, run, worker

READERS = [
    ("logs",), ("logs", "-f"), ("history",), ("history", "1"), ("releases",), ("audit",), ("journal", "show"),
    ("journal", "verify"), ("keys", "list"), ("token", "list"),
]  # fmt: skip


@pytest.fixture
def home() -> Iterator[Home]:
    # Not below pytest's own directory, which is closed to others.
    with tempfile.TemporaryDirectory() as directory:
        home = Home.open(Path(directory) / "home")
        with HistoryDb.open(home.database, BOT) as history:
            worker(home, history, "w1", "v1", "one\n")
        yield home


@contextmanager
def another_user() -> Generator[str]:
    """Be another user for a while."""
    try:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    except (KeyError, PermissionError):
        pytest.skip("only root can become another user")
    try:
        yield "nobody"
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("args", READERS)
@pytest.mark.parametrize("closed", ["home", "above"])
def test_a_home_of_another_user_is_reported_with_the_remedy(
    home: Home, args: tuple[str, ...], closed: str
) -> None:
    home.path.parent.chmod(0o755 if closed == "home" else 0o700)
    if "-f" not in args:
        # The other user may lack access to what it imports, too.
        run(*args, "--home", home.path)
    with another_user() as other:
        result = run(*args, "--home", home.path, "--json")
    assert result.exit_code == Exit.BAD_INPUT
    message = json_of(result)["error"]["message"]
    assert f"belongs to root and is closed to {other}: run this as root" in message
    assert str(home.path) in message


def test_a_single_inaccessible_file_is_named(home: Home) -> None:
    log = home.logs / "w1.log"
    for place in (home.path.parent, home.path, home.logs):
        place.chmod(0o755)
    home.database.chmod(0o644)
    run("logs", "--home", home.path)
    log.chmod(0o600)
    with another_user() as other:
        result = run("logs", "--home", home.path, "--worker", "w1")
    assert result.exit_code == Exit.BAD_INPUT
    assert f"{log}: it belongs to root and is closed to {other}" in result.stderr
