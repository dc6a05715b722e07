"""A home whose file system has no inode left: the next worker still leads, or reports why it cannot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .bots import COUNTER
from .live import Live


def take_inodes(home: Path) -> list[Path]:
    """Use up the free inodes; return the files, for the test to remove."""
    taken: list[Path] = []
    try:
        while True:
            path = home / f"taken-{os.urandom(8).hex()}"
            path.touch()
            taken.append(path)
    except OSError:
        return taken


def test_a_successor_leads_without_free_inodes_and_accepts_followers_once_some_are_free(
    live: Live, disk: Callable[[Path, str], Path]
) -> None:
    home = disk(live.home, "size=300m,nr_inodes=200")
    live.up(live.code("v0", COUNTER))
    leader = live.book()["pid"]
    taken = take_inodes(home)
    os.kill(leader, signal.SIGKILL)
    # Neither its log nor its socket could be made.
    live.ticks_on()
    assert live.book()["pid"] != leader
    for path in taken:
        path.unlink()
    # Its socket is there by now, so that another worker can follow it.
    assert live.deploy(live.code("v1", f"{COUNTER}# 1\n"))["outcome"] == "done"


@pytest.mark.deep
def test_a_worker_that_cannot_start_without_an_inode_reports_why_and_recovers_once_one_is_free(
    live: Live, disk: Callable[[Path, str], Path]
) -> None:
    home = disk(live.home, "size=300m,nr_inodes=200")
    live.up(live.code("v0", COUNTER))
    leader = live.book()["pid"]
    taken = take_inodes(home)
    # The lease file is indispensable. A running leader would make it again.
    os.kill(leader, signal.SIGSTOP)
    (home / "lease").unlink()
    taken += take_inodes(home)
    os.kill(leader, signal.SIGKILL)
    live.event(
        lambda event: "lease: cannot be opened: No space left on device" in event.get("reason", ""),
        type="worker-exited",
    )
    output = live.run("status").out
    assert "lease: cannot be opened: No space left on device" in output, output
    for path in taken:
        path.unlink()
    live.ticks_on()
    live.down()
