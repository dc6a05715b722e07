"""The file system and the clock of an episode work as documented, and affect no other process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import Clock, Disk, lacking
from .nemesis_home import bare_of_descriptors

_HOUR = 3600 * 10**9
_SHOWS = """
import datetime, sys, time
for line in sys.stdin:
    print(time.time_ns(), int(time.time()), int(datetime.datetime.now().timestamp()), time.monotonic_ns(), flush=True)
"""

_OPENS = """
import os, sys
for line in sys.stdin:
    try:
        os.close(os.open("/", 0))
        print("opened", flush=True)
    except OSError as problem:
        print(problem.errno, flush=True)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if "full" in lacking():
        pytest.skip(lacking()["full"])
    disk = Disk(tmp_path / "disk")
    try:
        yield disk
    finally:
        disk.close()


@pytest.mark.parametrize("what", ["blocks", "inodes"])
def test_a_file_system_that_is_filled_is_full_until_it_is_freed(
    disk: Disk, tmp_path: Path, what: str
) -> None:
    place = tmp_path / "disk"
    (place / "there").write_bytes(b"x")
    free = disk.fill(what)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which error is what is asked
        (place / "new").write_bytes(bytes(8192))
    assert caught.value.errno == errno.ENOSPC
    if what == "inodes":
        # Existing files can grow.
        (place / "there").write_bytes(bytes(8192))
    free()
    (place / "new").write_bytes(bytes(8192))


def test_a_clock_step_affects_only_the_processes_started_with_it(tmp_path: Path) -> None:
    if "clock" in lacking():
        pytest.skip(lacking()["clock"])
    clock = Clock(tmp_path)
    shows = subprocess.Popen(
        [sys.executable, "-c", _SHOWS],
        env={**os.environ, **clock.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shows.stdin is not None
    assert shows.stdout is not None

    def by() -> list[int]:
        """How far its clocks are from ours, in seconds: three ways to read the wall clock, and the monotonic clock."""
        assert shows.stdin is not None
        assert shows.stdout is not None
        print(file=shows.stdin, flush=True)
        wall, whole, stamp, mono = map(int, shows.stdout.readline().split())
        now = time.time_ns()
        return [
            round((wall - now) / 1e9),
            round(whole - now / 1e9 + 0.5),
            round(stamp - now / 1e9 + 0.5),
            round((mono - time.monotonic_ns()) / 1e9),
        ]

    with shows:
        for step in (_HOUR, -_HOUR - 1, 10**9 * 7 + 999_999_999):
            assert _near(by(), 0)
            back = clock.step(step)
            assert _near(by(), step / 1e9)
            back()
        assert _near(by(), 0)
        shows.stdin.close()


def _near(found: list[int], by: float) -> bool:
    *walls, mono = found
    return all(abs(wall - by) <= 2 for wall in walls) and mono == 0


def test_descriptors_taken_from_a_process_are_returned_afterwards() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _OPENS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def opens() -> str:
            assert child.stdin is not None
            assert child.stdout is not None
            print(file=child.stdin, flush=True)
            return child.stdout.readline().strip()

        assert opens() == "opened"
        relent = bare_of_descriptors(child.pid)
        assert opens() == str(errno.EMFILE)
        relent()
        assert opens() == "opened"
        child.stdin.close()
