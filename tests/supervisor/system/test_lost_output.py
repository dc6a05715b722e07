"""Commands and a supervisor whose output is lost: their effect remains, and the exit code reports it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from neverblink.supervisor.system.streams import BackgroundWriter

CLI = (sys.executable, "-m", "neverblink.supervisor.cli")


def run(*args: str, stdout: int, stderr: int | None = subprocess.PIPE) -> tuple[int, bytes]:
    done = subprocess.run([*CLI, *args], stdout=stdout, stderr=stderr, check=False, timeout=60)
    return done.returncode, done.stderr or b""


@pytest.mark.parametrize("args", [("--help",), ("schema", "status"), ("status", "--help")])
def test_a_closed_pipe_is_not_a_failure(args: tuple[str, ...]) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    assert run(*args, stdout=writable) == (0, b"")
    os.close(writable)


def test_an_answer_lost_to_a_full_disk_is_a_failure_with_its_reason() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    code, err = run("schema", "status", stdout=full)
    assert (code, err) == (1, b"neverblink: the output could not be written: No space left on device\n")
    assert run("schema", "status", stdout=full, stderr=full)[0] == 1
    os.close(full)


def test_the_effect_of_a_command_remains_when_its_output_is_lost(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    code, err = run("init", str(tmp_path / "bot"), stdout=full)
    os.close(full)
    assert code == 0
    assert b"the output could not be written" in err
    assert (tmp_path / "bot" / "neverblink.toml").is_file()


def test_an_error_keeps_its_exit_code_without_stderr(tmp_path: Path) -> None:
    shell = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *CLI, "status", "--home", str(tmp_path / "none")]
    assert subprocess.run(shell, check=False, timeout=60).returncode == 7


def test_a_stopped_terminal_blocks_only_the_thread_that_writes_to_it() -> None:
    master, slave = pty.openpty()
    # Ctrl-S.
    termios.tcflow(slave, termios.TCOOFF)
    with open(slave, "w", encoding="utf-8") as terminal:
        writer = BackgroundWriter(terminal, most_waiting=50)
        began = time.monotonic()
        for n in range(1000):
            writer.write(f"line {n}\n")
        assert time.monotonic() - began < 1
        # Ctrl-Q.
        termios.tcflow(slave, termios.TCOON)
        shown = b""
        while b"line 49" not in shown:
            shown += os.read(master, 4096)
        writer.write("the last\n")
        while b"the last" not in shown:
            shown += os.read(master, 4096)
        assert b"lines were not shown)" in shown
        writer.close()
    os.close(master)


def test_a_closed_pipe_does_not_end_the_writer() -> None:
    readable, writable = os.pipe()
    with open(writable, "w", encoding="utf-8") as pipe:
        writer = BackgroundWriter(pipe)
        os.close(readable)
        for _ in range(10):
            writer.write("this has no reader\n")
        writer.close()
