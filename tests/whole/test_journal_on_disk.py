"""The journal of a real bot: its files are cut off or vanish under it, and the bot goes on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from .bots import COUNTER
from .live import Live


def segments(live: Live) -> list[Path]:
    return sorted((live.home / "journal").glob("*.journal"))


def test_a_journal_that_vanishes_is_written_anew_and_no_tick_is_missed(live: Live) -> None:
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


@pytest.mark.parametrize("cut", [1, 777])
def test_a_journal_that_was_cut_off_is_gone_on_from_at_its_last_whole_frame(live: Live, cut: int) -> None:
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
