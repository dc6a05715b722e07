"""A real bot that prints while its logs cannot be written: it keeps ticking, and every start succeeds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .bots import bot
from .live import NEVERBLINK, Live

PRINTS = bot(
    """
    def on_tick(self, tick):
        self.state.ticks += 1
        print("tick", tick.seq)
        print("careful", file=sys.stderr)
        logging.warning("a log line")
    """,
    tick="20ms",
    first="import logging",
)


WRITES = bot(
    """
    def on_tick(self, tick):
        self.state.ticks += 1
        os.write(1, b"-" * 1000 + b"\\n")
    """,
    tick="10ms",
)


def kill_leader(live: Live) -> None:
    """Kill the leader and wait until another process of the bot ticks."""
    before = live.book()["pid"]
    os.kill(before, signal.SIGKILL)
    live.ticks_on()
    assert live.book()["pid"] != before


def test_a_bot_that_prints_keeps_ticking_while_the_disks_of_logs_and_journal_are_full(
    live: Live, disk: Callable[[Path, str], Path], fill: Callable[[Path], Path]
) -> None:
    logs = disk(live.home / "logs", "size=256k")
    journal = disk(live.home / "journal", "size=2m")
    live.up(live.code("v0", PRINTS))
    live.ticks_on()
    pid = live.book()["pid"]
    fillers = [fill(logs), fill(journal)]
    live.event(type="journal", state="failing")
    live.ticks_on()
    # Neither the bot's output nor our warnings about the journal have ended it.
    assert live.book()["pid"] == pid
    assert live.deploy(live.code("v1", f"{PRINTS}# 1\n"))["outcome"] == "done"
    for filler in fillers:
        filler.unlink()
    live.event(type="journal", state="written")
    live.prints("tick")
    live.down()
    report = live.audit()
    assert (report["ok"], report["doubled"], report["deaths_total"]) == (True, 0, 0), report
    assert (
        "lines before this one could not be written: No space left on device"
        in live.run("logs", "-n", "1000").out
    )


def test_a_worker_starts_although_its_log_file_cannot_be_created(
    live: Live, disk: Callable[[Path, str], Path]
) -> None:
    logs = disk(live.home / "logs", "size=256k,nr_inodes=1")
    up = live.up(live.code("v0", PRINTS))
    up.prints("w1.log cannot be opened, so output is lost until it can: No space left on device")
    live.ticks_on()
    kill_leader(live)
    assert list(logs.iterdir()) == []
    live.down()


def test_removed_logs_are_recreated_and_do_not_end_a_worker(live: Live) -> None:
    live.up(live.code("v0", PRINTS))
    live.ticks_on()
    pid = live.book()["pid"]
    shutil.rmtree(live.home / "logs")
    live.prints("tick")
    assert live.book()["pid"] == pid
    shutil.rmtree(live.home / "logs")
    kill_leader(live)
    live.prints("tick")
    live.down()
    assert "supervisor stops" in (live.home / "logs" / "supervisor.log").read_text()


def test_output_written_straight_to_the_descriptor_is_rotated_too(live: Live) -> None:
    code = live.code("v0", WRITES)
    config = code / "neverblink.toml"
    config.write_text(f'{config.read_text()}\n[log]\nsize = "64KiB"\nkeep = 2\n')
    live.up(code)
    logs = live.home / "logs"
    until = time.monotonic() + 30
    while not (logs / "w1.log.2").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    live.ticks_on()
    live.down()
    files = {path.name for path in logs.glob("w1.log*")}
    assert files == {"w1.log", "w1.log.1", "w1.log.2"}
    assert live.run("logs", "-n", "100").out.count("w1 | ----") == 100


@pytest.mark.parametrize(
    "output",
    [
        "<&- >&- 2>&-",
        pytest.param("2>&1 | head -n 1", marks=pytest.mark.deep),
        pytest.param("> /dev/full 2>&1", marks=pytest.mark.deep),
    ],
)
def test_a_supervisor_whose_output_is_closed_or_full_runs_the_bot(live: Live, output: str) -> None:
    code = live.code("v0", PRINTS)
    command = f'"$@" up --project {code} {output}'
    with subprocess.Popen(
        ["sh", "-c", command, "sh", *NEVERBLINK],
        cwd=live.tmp,
        env=live.environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ):
        try:
            live.prints("tick", lambda ticks: len(ticks) > 10)
            assert live.run("status").code == 0
            # Each of these makes the supervisor print a line.
            for _ in range(3):
                live.ask("pause")
                live.ask("resume")
            count = len(live.printed("tick"))
            live.prints("tick", lambda ticks: len(ticks) > count + 10)
        finally:
            assert live.run("down").code == 0
