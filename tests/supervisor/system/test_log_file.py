"""A log file of the supervisor's on real file systems: rotated, followed, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from neverblink.supervisor.config.config import LogSettings
from neverblink.supervisor.system.log_file import SupervisorLogFile, bound_file, open_for_child
from neverblink.supervisor.web.access_log import AccessLog


def log(path: Path, size: int = 1 << 20, keep: int = 2) -> SupervisorLogFile:
    return SupervisorLogFile(path, size, keep, lambda count, why: f"{count} lost: {why}")


def test_a_log_is_rotated_by_size_and_a_fixed_number_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.log"
    file = log(path, size=100)
    for n in range(100):
        assert file.write(f"{n:02}")
    older, newer, now = (path.with_name(name) for name in ("supervisor.log.2", "supervisor.log.1", path.name))
    assert sorted(tmp_path.iterdir()) == sorted((older, newer, now))
    lines = older.read_text() + newer.read_text() + now.read_text()
    assert lines.split() == [f"{n:02}" for n in range(100)][-len(lines.split()) :]


def test_writing_continues_after_the_file_was_moved_truncated_or_removed(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "supervisor.log"
    path.parent.mkdir()
    file = log(path)
    file.write("one")
    path.rename(path.with_name("moved"))
    file.write("two")
    assert (path.with_name("moved").read_text(), path.read_text()) == ("one\n", "two\n")
    os.truncate(path, 0)
    file.write("three")
    assert path.read_text() == "three\n"
    shutil.rmtree(path.parent)
    file.write("four")
    assert path.read_text() == "four\n"


def test_a_full_disk_costs_lines_which_are_counted(
    tmp_path: Path, disk: Callable[[Path, str], Path], fill: Callable[[Path], Path]
) -> None:
    logs = disk(tmp_path / "logs", "size=64k")
    (logs / "supervisor.log").write_text("x" * 4090 + "\n")
    filler = fill(logs)
    file = log(logs / "supervisor.log")
    assert not file.write("more than there is room for")
    assert not file.write("none")
    filler.unlink()
    assert file.write("there is room")
    _, cut, *rest = (logs / "supervisor.log").read_text().splitlines()
    assert "more than there is room for".startswith(cut)
    assert rest == ["2 lost: No space left on device", "there is room"]


@pytest.mark.parametrize("options", ["size=64k,nr_inodes=1", "size=64k,ro"])
def test_a_child_gets_dev_null_if_its_log_cannot_be_created(
    tmp_path: Path, disk: Callable[[Path, str], Path], options: str
) -> None:
    logs = disk(tmp_path / "logs", options)
    warnings: list[str] = []
    with open_for_child(logs / "w1.log", warnings.append) as file:
        subprocess.run(["echo", "lost"], stdout=file, check=True)
    assert len(warnings) == 1
    assert "w1.log cannot be opened" in warnings[0]
    assert not log(logs / "supervisor.log").write("lost")


def test_the_log_of_the_web_process_is_rotated_as_configured(tmp_path: Path) -> None:
    path = tmp_path / "http.log"
    book = AccessLog(path, LogSettings(size=1000, keep=2))
    for n in range(100):
        book.say(f"refused {n}")
    assert {file.name for file in tmp_path.iterdir()} == {"http.log", "http.log.1", "http.log.2"}
    assert all(file.stat().st_size < 1100 for file in tmp_path.iterdir())


def test_a_link_in_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "supervisor.log"
    victim.write_text("mine\n")
    link.symlink_to(victim)
    file = log(link)
    assert not file.write("lost")
    warnings: list[str] = []
    for fresh in (False, True):
        with open_for_child(link, warnings.append, fresh=fresh) as nothing:
            subprocess.run(["echo", "lost"], stdout=nothing, check=True)
    assert ["a symbolic link is in its place" in line for line in warnings] == [True, True]
    assert victim.read_text() == "mine\n"
    link.unlink()
    assert file.write("found")
    assert (
        link.read_text() == "1 lost: a symbolic link is in its place, and is not followed: remove it\nfound\n"
    )


def test_an_unread_named_pipe_blocks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.log"
    os.mkfifo(path)
    assert not log(path).write("lost")
    warnings: list[str] = []
    with open_for_child(path, warnings.append):
        assert len(warnings) == 1
    bound_file(path, 1)


def test_the_output_of_a_child_is_limited_to_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "http.err"
    with open_for_child(path, lambda _: None, fresh=True) as file:
        for number in range(1000):
            file.write(b"line %d\n" % number)
        file.flush()
        bound_file(path, 4000)
        file.write(b"the end\n")
    lines = path.read_text().splitlines()
    assert lines[-2:] == ["line 999", "the end"]
    assert lines[0].startswith("line ")
    assert path.stat().st_size < 1100


def test_a_link_in_place_of_the_output_of_a_child_is_not_truncated(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "http.err"
    victim.write_text("mine\n" * 10)
    link.symlink_to(victim)
    bound_file(link, 10)
    assert victim.read_text() == "mine\n" * 10
