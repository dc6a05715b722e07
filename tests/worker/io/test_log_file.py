"""A worker's log file on real file systems: rotated, followed, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HEAD = """
import os, shutil, subprocess, sys, time
from pathlib import Path
from neverblink.protocol.assignment import Assignment
from neverblink.worker.io.output import capture_output
log = Path(sys.argv[1])
me = Assignment(
    bot="fox", worker="w3", release="v2", run="", lease="", journal="",
    log_file=str(log), log_size=int(sys.argv[2]), log_keep=3,
)
output = capture_output(me)
def look_again():
    time.sleep(0.11)  # The path is compared with the open file at most every 100 ms.
"""


def run(log: Path, code: str, size: int = 1 << 20) -> None:
    """Run `code` in a worker's process whose log is this file."""
    with open(os.devnull, "ab") as null:
        subprocess.run(
            [sys.executable, "-c", HEAD + code, str(log), str(size)],
            stdout=null,
            stderr=null,
            check=True,
            timeout=60,
        )


def texts(path: Path) -> list[str]:
    """What the lines of a file say, without their beginnings."""
    return [line.partition(" | ")[2] or line for line in path.read_text().splitlines()]


def test_a_log_is_rotated_by_size_and_the_newest_files_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "w3.log"
    run(log, "for n in range(3000): print(n)", size=16_384)
    files = [log, *(tmp_path / f"w3.log.{n}" for n in (1, 2, 3))]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size < 16_384 + 200 for file in files)
    # Nothing is lost or doubled between two files.
    numbers = [int(text) for file in reversed(files) for text in texts(file)]
    assert numbers == list(range(3000 - len(numbers), 3000))


def test_output_of_c_code_and_children_goes_into_the_new_file_after_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "w3.log"
    run(
        log,
        """
print("x" * 200)
os.write(1, b"raw out\\n")
os.write(2, b"raw err\\n")
subprocess.run(["echo", "a child"])
sys.stdout.buffer.write(b"bytes\\n")
""",
        size=100,
    )
    assert texts(log) == ["raw out", "raw err", "a child", "bytes"]


def test_a_moved_or_removed_log_is_opened_again(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "w3.log"
    log.parent.mkdir()
    run(
        log,
        """
print("one")
log.rename(log.with_name("moved"))
look_again()
print("two")
os.write(2, b"raw two\\n")
shutil.rmtree(log.parent)
look_again()
print("three")
os.write(2, b"raw three\\n")
""",
    )
    # The directory was made again.
    assert texts(log) == ["three", "raw three"]


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    log, victim = tmp_path / "logs" / "w3.log", tmp_path / "victim"
    log.parent.mkdir()
    victim.write_text("mine")
    run(
        log,
        f"""
print("one")
log.unlink()
log.symlink_to({str(victim)!r})
look_again()
print("lost, or written where the file was")
log.unlink()
look_again()
print("three")
""",
    )
    assert victim.read_text() == "mine"
    assert texts(log)[-1] == "three"


def test_a_named_pipe_without_a_reader_in_place_of_the_log_blocks_nothing(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "w3.log"
    log.parent.mkdir()
    run(
        log,
        """
print("one")
log.unlink()
os.mkfifo(log)
look_again()
print("lost, or written where the file was")
log.unlink()
look_again()
print("three")
""",
    )
    assert texts(log)[-1] == "three"


def test_a_moved_log_keeps_its_lines(tmp_path: Path) -> None:
    log = tmp_path / "w3.log"
    run(log, "print('one'); log.rename(log.with_name('moved')); look_again(); print('two')")
    assert (texts(tmp_path / "moved"), texts(log)) == (["one"], ["two"])


def test_a_truncated_log_goes_on_at_its_start(tmp_path: Path) -> None:
    log = tmp_path / "w3.log"
    run(log, "print('one'); os.truncate(log, 0); print('two')")
    assert texts(log) == ["two"]
    assert log.read_bytes()[:2] == b"20"


def test_lines_lost_on_a_full_disk_are_counted(
    tmp_path: Path, disk: Callable[[Path, str], Path], fill: Callable[[Path], Path]
) -> None:
    logs = disk(tmp_path / "logs", "size=64k")
    filler = fill(logs)
    run(
        logs / "w3.log",
        f"""
for n in range(5): print(n)
sys.stderr.write("no end")
os.unlink({str(filler)!r})
print("there is room")
""",
    )
    counted, there, end = texts(logs / "w3.log")
    assert counted == "neverblink: 5 lines before this one could not be written: No space left on device"
    assert (there, end) == ("there is room", "no end")


def test_a_partly_written_line_is_ended_before_the_next(
    tmp_path: Path, disk: Callable[[Path, str], Path], fill: Callable[[Path], Path]
) -> None:
    logs = disk(tmp_path / "logs", "size=64k")
    (logs / "w3.log").write_text("-" * 4000 + "\n")
    filler = fill(logs)
    run(logs / "w3.log", f"print('x' * 500); os.unlink({str(filler)!r}); print('whole')")
    first, cut, counted, whole = texts(logs / "w3.log")
    assert first.startswith("---")
    assert set(cut) == {"x"}
    assert "1 lines before this one" in counted
    assert whole == "whole"


def test_a_log_without_an_inode_is_written_once_there_is_one(
    tmp_path: Path, disk: Callable[[Path, str], Path]
) -> None:
    logs = disk(tmp_path / "logs", "size=1m,nr_inodes=2")
    (logs / "other").touch()
    run(logs / "w3.log", "print('lost'); (log.parent / 'other').unlink(); look_again(); print('there')")
    assert texts(logs / "w3.log")[-1] == "there"


def test_a_rotation_without_an_inode_goes_on_in_the_present_file(
    tmp_path: Path, disk: Callable[[Path, str], Path]
) -> None:
    logs = disk(tmp_path / "logs", "size=1m,nr_inodes=2")
    run(logs / "w3.log", "for n in range(100): print(n)", size=1000)
    assert texts(logs / "w3.log") == [str(n) for n in range(100)]


def test_a_read_only_file_system_loses_only_lines(tmp_path: Path, disk: Callable[[Path, str], Path]) -> None:
    logs = disk(tmp_path / "logs", "size=1m")
    subprocess.run(["mount", "-o", "remount,ro", str(logs)], check=True)
    run(logs / "w3.log", "print('lost')")
    assert list(logs.iterdir()) == []


def test_a_forked_child_follows_a_rotation_and_does_not_rotate(tmp_path: Path) -> None:
    log = tmp_path / "w3.log"
    run(
        log,
        """
print("parent")
if os.fork() == 0:
    for n in range(50): print("child", n)
    os._exit(0)
os.wait()
""",
        size=500,
    )
    assert texts(log) == ["parent", *(f"child {n}" for n in range(50))]


def test_a_redirection_by_the_bot_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "w3.log"
    other = tmp_path / "other"
    run(
        log,
        f"""
print("before")
os.dup2(os.open({str(other)!r}, os.O_WRONLY | os.O_CREAT), 1)
for n in range(20): print("x" * 100)
os.write(1, b"redirected")
""",
        size=1000,
    )
    assert other.read_text() == "redirected"


def test_the_log_directory_of_a_removed_home_is_not_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    run(home / "logs" / "w3.log", f"shutil.rmtree({str(home)!r}); look_again(); print('lost')")
    assert not home.exists()
    shutil.rmtree(tmp_path)
