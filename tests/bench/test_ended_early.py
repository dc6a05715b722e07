"""A run that is told to end leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ..matrix import cases

_ROOT = Path(__file__).resolve().parents[2]
_WITHIN = 30.0


@pytest.mark.parametrize("number", cases([signal.SIGINT, signal.SIGTERM], signal.SIGINT))
def test_a_terminated_run_ends_its_processes(number: int, tmp_path: Path) -> None:
    # Its directories are made in ours, so that its processes can be found by their working directory.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.bench", "--quick", "idle"],
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for_bot(run, tmp_path)
        run.send_signal(number)
        _, output = run.communicate(timeout=_WITHIN)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 130
    assert output == "bin/bench: interrupted\n"
    assert _those_in(tmp_path) == []


def _wait_for_bot(run: subprocess.Popen[str], place: Path) -> None:
    """Wait until the bot has a journal. Nothing announces a new file, so this polls."""
    while not list(place.rglob("*.journal")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.01)


def _those_in(place: Path) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(place) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
