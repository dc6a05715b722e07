"""Push after push: disk use stays bounded, and no file stays open."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ..files import entries_below
from .live import WITHIN, Live
from .pushing import HANDED, Pushing
from .wheels import LIBRARY, needs, wheel

KEPT = 5
"""The default of `keep.releases`."""
EVERY = 3
"""So often a push asks for another version of the library, and so for another environment."""


@pytest.mark.deep
def test_disk_use_and_open_files_stay_bounded_over_many_pushes(
    live: Live, say: Callable[[str], None]
) -> None:
    pushes = int(os.environ.get("NEVERBLINK_TEST_PUSHES", "6"))
    code = live.code("v0", LIBRARY)
    needs(live, code, "prices==1.0")
    live.up(code)
    pushing = Pushing(live)
    pushing.commit(code, "Begin")
    assert HANDED.search(pushing.push().err)
    supervisor = psutil.Process(live.status()["supervisor"]["pid"])
    first, worker_files = None, set[int]()
    environments = 1
    for number in range(pushes):
        if number % EVERY == EVERY - 1:
            wheel(live.tmp / "wheels", f"3.{number}")
            needs(live, pushing.work, f"prices==3.{number}")
            environments += 1
        pushing.change(f"Push {number}")
        pushed = pushing.push("live", "main")
        assert HANDED.search(pushed.err), pushed
        live.event(type="worker-exited", worker=f"w{number + 2}")
        # The first push has opened whatever is opened once.
        first = first or supervisor.num_fds()
        closes(supervisor, first)
        worker_files.add(len(os.listdir(f"/proc/{live.status()['workers'][0]['pid']}/fd")))
    assert len(worker_files) == 1, worker_files
    workers = [p for p in live.processes() if "neverblink.worker" in " ".join(p.cmdline())]
    assert len(workers) == 1, workers
    files, threads, memory = supervisor.num_fds(), supervisor.num_threads(), supervisor.memory_info().rss
    live.down()
    releases, built = entries(live.home / "releases"), entries(live.home / "environments")
    # What led is kept, and the two that the last handoff was between.
    assert len(releases) <= KEPT + 2
    assert len(built) <= len(releases)
    report = live.audit()
    assert report["doubled"] == 0, report
    assert report["handoffs_total"] == pushes + 1
    mb = size(live.home / "releases") + size(live.home / "environments")
    blackout = max(handoff["blackout_us"] for handoff in report["handoffs"]) / 1000
    say(
        f"{pushes + 1} pushes, {environments} environments built: {len(releases)} releases and {len(built)} "
        f"environments kept, {mb:.1f} MB; supervisor {files} files, {threads} threads, {memory / 1e6:.0f} MB; worker "
        f"{worker_files.pop()} files; {report['missed']} ticks missed, worst blackout {blackout:.2f} ms"
    )


def closes(process: psutil.Process, most: int) -> None:
    """Wait until it has no more files open than that: what is open for a moment is closed, and what leaks is not."""
    until = time.monotonic() + WITHIN
    while (files := process.num_fds()) > most:
        assert time.monotonic() < until, f"{files} files are open, {most} were after one push"
        time.sleep(0.01)


def entries(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if not path.is_symlink() and not path.name.startswith(".")]


def size(place: Path) -> float:
    """MB, each file once, however many links it has."""
    found = {status.st_ino: status.st_blocks * 512 for _, status in entries_below(place)}
    return sum(found.values()) / 1e6
