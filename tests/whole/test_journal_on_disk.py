"""The journal of a real bot: its files are truncated or removed, and the bot keeps ticking."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from ..matrix import cases
from .bots import COUNTER
from .live import Live


@pytest.fixture
def disk(live: Live) -> Generator[Path]:
    """The journal's directory on a disk of its own, of 2 MB."""
    journal = live.home / "journal"
    journal.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "neverblink-test", str(journal)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield journal
    live.close()
    subprocess.run(["umount", str(journal)], check=True)


def segments(live: Live) -> list[Path]:
    return sorted((live.home / "journal").glob("*.journal"))


def survives_a_kill(live: Live) -> None:
    """Kill the leader: its successor recovers all of its ticks from the journal."""
    before = live.book()
    os.kill(before["pid"], signal.SIGKILL)
    live.ticks_on()
    assert live.book()["ticks"] >= before["ticks"]
    live.down()
    report = live.audit()
    assert (report["ok"], report["doubled"], report["deaths_total"]) == (True, 0, 1), report


def test_a_removed_journal_is_recreated_and_no_tick_is_missed(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    live.ticks_on()
    shutil.rmtree(live.home / "journal")
    failing = live.event(type="journal", state="failing")
    assert "was moved or removed" in failing["text"]
    live.event(type="journal", state="written")
    live.ticks_on()
    assert live.status()["journal"]["failing"] == ""
    before = live.book()
    # What is in the new file is all that a successor needs.
    os.kill(before["pid"], signal.SIGKILL)
    live.ticks_on()
    after = live.book()
    assert after["pid"] != before["pid"]
    assert after["ticks"] >= before["ticks"]
    live.down()
    assert live.run("journal", "verify").code == 0
    report = live.audit()
    assert (report["ok"], report["doubled"]) == (True, 0)


@pytest.mark.parametrize("cut", cases([1, 777], 777))
def test_a_truncated_journal_is_resumed_after_its_last_whole_frame(live: Live, cut: int) -> None:
    code = live.code("v0", COUNTER)
    live.up(code)
    live.ticks_on()
    live.down()
    path = segments(live)[-1]
    os.truncate(path, path.stat().st_size - cut)
    torn = live.run("journal", "show", "--json").json["segments"][-1]
    live.up(code)
    live.ticks_on()
    first = live.audit()
    assert first["ok"], first
    live.down()
    whole = live.run("journal", "verify", "--json")
    assert (whole.code, whole.json["ok"]) == (0, True)
    assert whole.json["last"] > torn["last"]


def test_a_full_disk_stops_no_tick_and_is_reported_until_there_is_space(live: Live, disk: Path) -> None:
    live.up(live.code("v0", COUNTER))
    live.ticks_on()
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(4 << 20))
    failing = live.event(type="journal", state="failing")
    assert "the disk is full: free some space" in failing["text"]
    live.ticks_on()
    shown = live.run("status")
    assert "the disk is full: free some space" in shown.out
    filler.unlink()
    live.event(type="journal", state="written")
    survives_a_kill(live)


def test_a_directory_that_becomes_read_only_stops_no_handoff_and_no_tick(live: Live, disk: Path) -> None:
    live.up(live.code("v0", COUNTER))
    live.ticks_on()
    # An open file stays writable for the kernel; opening one fails from here on.
    for how in (["--bind", str(disk), str(disk)], ["-o", "remount,bind,ro", str(disk)]):
        subprocess.run(["mount", *how], check=True)
    try:
        ended = live.deploy(live.code("v1", f"{COUNTER}# 1\n"))
        assert ended["outcome"] == "done"
        failing = live.event(type="journal", state="failing")
        assert "its file system is read-only: mount it writable, or move the home" in failing["text"]
        live.ticks_on()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    live.event(type="journal", state="written")
    survives_a_kill(live)
