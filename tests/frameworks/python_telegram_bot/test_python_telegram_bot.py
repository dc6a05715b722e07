"""A bot on python-telegram-bot: each update is applied once, jobs keep their time, and Telegram sees one poll."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ..driver import Counted, Row, bot_of, drive
from ..telegram import Telegram


def test_updates_are_applied_once_and_jobs_keep_their_rhythm(tmp_path: Path) -> None:
    with Telegram() as telegram:
        row = drive(bot_of("python_telegram_bot"), telegram, tmp_path, deploys=3)
    print(Row.heading())
    print(row)
    print(f"{telegram.conflicts} polls met another one")
    assert (row.missed, row.counted) == (0, Counted())
    assert row.added + row.removed <= 5
    assert telegram.conflicts == 0
    # A killed process may have sent what it could not record. Nothing is lost.
    assert row.alone.counted.lost == row.standby.counted.lost == 0


def test_an_application_that_keeps_something_in_its_process_is_refused() -> None:
    lines = said_by("refusals.py")
    names = ["persistence", "arbitrary_callback_data", "context types", "block=False", "conversation_timeout"]
    assert len(lines) == len(names), lines
    assert all(name in line for name, line in zip(names, lines, strict=True)), lines


def test_jobs_are_the_same_in_the_next_process() -> None:
    refused, *lines = said_by("jobs.py")
    assert "job lambda is not scheduled" in refused
    assert lines == [
        "timers at the times of the jobs: True",
        "the same in the next process: True",
        "begun anew with another interval: ['declared']",
    ]


def said_by(script: str) -> list[str]:
    """The output of a script in the package's environment."""
    done = subprocess.run(
        [bot_of("python_telegram_bot").python, str(Path(__file__).with_name(script))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()
