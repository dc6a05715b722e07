"""A disk that is really full: nothing is left half written, and the error names the file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from neverblink.protocol.errors import NeverblinkError
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.state.document import stage
from neverblink.supervisor.state.point import Now
from neverblink.supervisor.state.state_at import state_at
from neverblink.supervisor.store.backup import back_up
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.system.errors import Refusal
from tests.worker.journaling_leader import JournalingLeader

Mount = Callable[[Path, str], Path]
Fill = Callable[[Path], Path]


def home_in(directory: Path) -> Home:
    home = Home.open(directory)
    JournalingLeader(home.journal).ticks(50)
    return home


def test_a_restore_that_cannot_be_staged_is_refused(tmp_path: Path, disk: Mount, fill: Fill) -> None:
    home = home_in(disk(tmp_path / "home", "size=2m"))
    staged = state_at(home.journal, Now()).values.staged()
    filler = fill(home.path)
    with pytest.raises(Refusal, match="nothing was changed"):
        stage(home, staged)
    assert list(home.run.iterdir()) == []
    filler.unlink()
    assert stage(home, staged).is_file()


def test_a_backup_that_does_not_fit_leaves_nothing(tmp_path: Path, disk: Mount) -> None:
    home = home_in(tmp_path / "home")
    small = disk(tmp_path / "small", "size=8k")
    with pytest.raises(NeverblinkError, match="No space left"):
        back_up(home, small / "backup")
    assert list(small.iterdir()) == []
    assert back_up(home, tmp_path / "large" / "backup").segments == len(list(home.journal.glob("*.journal")))


@pytest.mark.parametrize("target", ["home/inside", "there", "file"])
def test_a_backup_writes_over_nothing(tmp_path: Path, target: str) -> None:
    home = home_in(tmp_path / "home")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    (tmp_path / "file").touch()
    with pytest.raises(NeverblinkError, match=r"name a (new )?directory"):
        back_up(home, tmp_path / target)
    with pytest.raises(NeverblinkError, match="neverblink up"):
        back_up(Home(tmp_path / "nothing"), tmp_path / "backup")


def test_an_export_that_does_not_fit_leaves_the_one_before(tmp_path: Path, disk: Mount, fill: Fill) -> None:
    home = home_in(tmp_path / "home")
    small = disk(tmp_path / "small", "size=128k")
    file = small / "state.json"
    words = ["state", "export", "--home", str(home.path), "-o", str(file)]
    assert CliRunner().invoke(neverblink, words).exit_code == Exit.DONE
    before = json.loads(file.read_text())
    fill(small)
    refused = CliRunner().invoke(neverblink, words)
    assert refused.exit_code == Exit.BAD_INPUT
    assert "state.json cannot be written: No space left on device" in refused.stderr
    assert json.loads(file.read_text()) == before


def test_a_read_only_home_is_read_and_an_export_into_it_names_the_file(tmp_path: Path, disk: Mount) -> None:
    where = disk(tmp_path / "home", "size=2m")
    home = Home.open(where)
    leader = JournalingLeader(home.journal)
    leader.ticks(50)
    leader.journal.close()
    subprocess.run(["mount", "-o", "remount,ro", str(where)], check=True)
    for words in (
        ["state", "show"],
        ["state", "at", "frame:3"],
        ["state", "export"],
        ["state", "diff", "frame:3"],
    ):
        done = CliRunner().invoke(neverblink, [*words, "--home", str(home.path)])
        assert done.exit_code == Exit.DONE, done.stderr
    words = ["state", "export", "--home", str(home.path), "-o", str(where / "state.json")]
    refused = CliRunner().invoke(neverblink, words)
    assert refused.exit_code == Exit.BAD_INPUT
    assert "state.json cannot be written: Read-only file system" in refused.stderr
    refused = CliRunner().invoke(
        neverblink, ["state", "restore", "frame:3", "--yes", "--home", str(home.path)]
    )
    assert refused.exit_code == Exit.UNREACHABLE
