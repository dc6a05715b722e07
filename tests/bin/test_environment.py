"""What the commands in `bin/` say and do before there is an environment to run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
TOOLS = ("cat", "cksum", "dirname", "id", "mktemp", "readlink", "rm", "sed", "sh", "stat", "uname")


@pytest.fixture
def clone() -> Iterator[Path]:
    """A clone as far as the commands look at it, which every user can read: pytest's own directories are private."""
    with tempfile.TemporaryDirectory() as place:
        clone = Path(place)
        clone.chmod(0o755)
        shutil.copytree(ROOT / "bin", clone / "bin")
        shutil.copy(ROOT / "pyproject.toml", clone)
        yield clone


def run(
    command: list[str | Path], path: str = os.environ["PATH"], **environment: str
) -> tuple[int, str, str]:
    """Run a command as a user who owns nothing here, with an environment of nothing but `PATH` and what is given."""
    user = NOBODY if os.getuid() == 0 else None
    done = subprocess.run(
        command,
        env={"PATH": path, **environment},
        user=user,
        extra_groups=[] if user else None,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def call(clone: Path, text: str) -> list[str | Path]:
    return ["sh", "-c", f'root=$1 env=$1/.venv; . "$1/bin/environment"; {text}', "sh", clone]


def test_in_a_clone_of_another_user_the_error_names_the_user_who_can_create_the_environment(
    clone: Path,
) -> None:
    if os.getuid() != 0:
        clone.chmod(0o555)
    for command in ("neverblink", "test", "chaos"):
        code, out, err = run([clone / "bin" / command])
        assert (code, out) == (2, "")
        assert f"cannot write {clone}. Clone {clone} into a directory of your own" in err
        assert len(err.splitlines()) == 1


def test_an_environment_that_another_user_made_can_be_used(clone: Path) -> None:
    made = clone / ".venv-live" / "bin"
    made.mkdir(parents=True)
    for name in ("python", "neverblink"):
        (made / name).write_text("#!/bin/sh\necho $0 runs\n")
        (made / name).chmod(0o755)
    stamp = 'env=$1/.venv-live; stamp live >"$env/stamp"'
    subprocess.run(call(clone, stamp), check=True)
    assert run([clone / "bin" / "neverblink"]) == (0, f"{made}/neverblink runs\n", "")


def test_a_lock_created_by_another_user_can_be_held(clone: Path) -> None:
    (clone / ".venv.lock").touch(0o444)
    clone.chmod(0o777)
    code, _, err = run(call(clone, 'locked say "the directory" "" held'))
    assert (code, err) == (0, "neverblink: the directory " + err.split()[3] + " held\n")


def test_an_unsuitable_interpreter_is_named(clone: Path) -> None:
    clone.chmod(0o777)
    code, _, err = run([clone / "bin" / "neverblink"], NEVERBLINK_PYTHON="/bin/false")
    assert code == 2
    assert "NEVERBLINK_PYTHON=/bin/false is not a Python from 3.11 on" in err


def test_without_an_interpreter_the_error_says_how_to_get_one(clone: Path) -> None:
    clone.chmod(0o777)
    tools = clone / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or name)
    code, _, err = run([clone / "bin" / "neverblink"], str(tools), HOME=str(clone), XDG_DATA_HOME=str(clone))
    assert code == 2
    assert "apt-get install python3 python3-venv" in err
    assert "NEVERBLINK_PYTHON" in err


def test_bin_test_help_lists_its_options(clone: Path) -> None:
    code, out, _ = run([clone / "bin" / "test", "--help"])
    assert code == 0
    for option in ("--deep", "--newest", "--oldest", "--rewrite"):
        assert f"bin/test {option} " in out
