"""hook install, remove, status: what is put into a bare repository, and that it goes away without a trace."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.release.git import ask
from neverblink.supervisor.release.git_hooks import SCRIPT
from neverblink.supervisor.store.state_dir import Home

THEIRS = '#!/bin/sh\n# a hook of the user\'s own\ncat > "$GIT_DIR/seen"\n'

AS_NOBODY = """
import os, sys
from pathlib import Path
from neverblink.supervisor.release.git_hooks import HookSettings
from neverblink.supervisor.hook.problems import of_home
os.setuid(65534)
print(*of_home(HookSettings(Path(sys.argv[1]), "main", False, Path("python"))), sep="\\n")
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    place = tmp_path / "fox.git"
    ask(tmp_path, "init", "--quiet", "--bare", "--template=", str(place))
    (place / "hooks").mkdir()
    return place


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Home.open(tmp_path / "home").path


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(neverblink, ["hook", *map(str, words)])


def everything(place: Path) -> dict[str, tuple[int, bytes | str]]:
    """Each file in a repository with its mode and what is in it."""
    return {
        str(path.relative_to(place)): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else path.read_bytes(),
        )
        for path in place.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def problems(bare: Path) -> list[str]:
    result = run("status", bare, "--json")
    found = msgspec.json.decode(result.stdout)["problems"]
    assert result.exit_code == (Exit.BROKEN if found else Exit.DONE)
    return found


def test_removal_restores_every_byte(bare: Path, home: Path) -> None:
    hooks = bare / "hooks"
    (hooks / "post-receive").write_text(THEIRS)
    (hooks / "post-receive").chmod(0o750)
    (bare / "shared-hook").write_text(THEIRS)
    (hooks / "pre-receive").symlink_to("../shared-hook")
    ask(bare, "config", "receive.denyDeletes", "true")
    before = everything(bare)
    for options in ((), ("--gate",), ("--branch", "live")):
        assert run("install", bare, "--home", home, *options).exit_code == Exit.DONE
        for name in ("post-receive", "pre-auto-gc"):
            assert (hooks / name).read_bytes() == SCRIPT.read_bytes()
    assert run("install", bare, "--home", home, "--gate").exit_code == Exit.DONE
    assert everything(bare) != before
    assert run("remove", bare).exit_code == Exit.DONE
    assert everything(bare) == before


@pytest.mark.parametrize("options", ["true", "false"])
def test_removal_restores_the_push_options(options: str, bare: Path, home: Path) -> None:
    ask(bare, "config", "receive.advertisePushOptions", options)
    before = everything(bare)
    run("install", bare, "--home", home)
    run("install", bare, "--home", home)
    assert ask(bare, "config", "receive.advertisePushOptions") == "true"
    run("remove", bare)
    assert everything(bare) == before


def test_installing_without_the_gate_removes_pre_receive(bare: Path, home: Path) -> None:
    run("install", bare, "--home", home, "--gate")
    assert (bare / "hooks" / "pre-receive").read_bytes() == SCRIPT.read_bytes()
    run("install", bare, "--home", home)
    assert not (bare / "hooks" / "pre-receive").exists()


def test_a_hook_that_replaced_ours_is_kept(bare: Path, home: Path) -> None:
    ours = bare / "hooks" / "post-receive"
    ours.write_text(THEIRS)
    run("install", bare, "--home", home)
    ours.write_text("#!/bin/sh\n# another\n")
    assert "was replaced by another hook" in problems(bare)[0]
    refused = run("install", bare, "--home", home)
    assert refused.exit_code == Exit.BAD_INPUT
    assert "only one can be kept" in refused.stderr
    removed = run("remove", bare, "--json")
    assert msgspec.json.decode(removed.stdout)["left"] == [str(ours)]
    assert ours.read_text() == "#!/bin/sh\n# another\n"
    assert run("remove", bare).exit_code == Exit.BAD_INPUT


def test_status_names_the_obstacles_to_a_push(bare: Path, home: Path) -> None:
    assert "has no neverblink hook" in problems(bare)[0]
    run("install", bare, "--home", home, "--gate")
    with Home(home).claim("fox"):
        assert problems(bare) == []
        hook = bare / "hooks" / "pre-receive"
        hook.chmod(0o644)
        assert ["cannot be executed" in problem for problem in problems(bare)] == [True]
        hook.write_bytes(SCRIPT.read_bytes() + b"# of an earlier version\n")
        assert ["another version" in problem for problem in problems(bare)] == [True]
        hook.unlink()
        assert ["is gone" in problem for problem in problems(bare)] == [True]
        run("install", bare, "--home", home, "--gate")
        ask(bare, "config", "neverblink.python", "/gone/python")
        ask(bare, "config", "receive.advertisePushOptions", "false")
        assert ["/gone/python" in problems(bare)[0], "switched off" in problems(bare)[1]] == [True, True]
        run("install", bare, "--home", home)
        assert problems(bare) == []
    assert "no supervisor runs" in problems(bare)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as another user")
def test_a_home_of_another_user_is_reported(bare: Path, tmp_path: Path) -> None:
    run("install", bare, "--home", Home.open(tmp_path / "home").path)
    asking = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"this push runs as {pwd.getpwuid(65534).pw_name}" in asking.stdout


def move_away(bare: Path) -> None:
    bare.rename(bare.with_name("x"))


def share_hooks(bare: Path) -> None:
    ask(bare, "config", "core.hooksPath", "/etc/hooks")


def have_a_tree(bare: Path) -> None:
    ask(bare, "config", "core.bare", "false")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (move_away, "make a repository to push to with `git init --bare"),
        (share_hooks, "core.hooksPath"),
        (have_a_tree, "has a working tree"),
    ],
)
def test_an_unsuitable_repository_is_refused_with_the_remedy(
    prepare: Callable[[Path], None], message: str, bare: Path, home: Path
) -> None:
    prepare(bare)
    refused = run("install", bare, "--home", home)
    assert refused.exit_code == Exit.BAD_INPUT
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_an_invalid_branch_name_is_refused(bare: Path, home: Path) -> None:
    before = everything(bare)
    refused = run("install", bare, "--home", home, "--branch", "no..name")
    assert refused.exit_code == Exit.BAD_INPUT
    assert "--branch main" in refused.stderr
    assert everything(bare) == before
