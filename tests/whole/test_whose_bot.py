"""Whose bot is this: a directory that is copied, moved or removed under a living bot, with real processes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .bots import COUNT, bot
from .live import Live, ends, one_line
from .test_killed import end

COUNTER = bot(COUNT, tick="50ms")


def copy_of(live: Live, name: str) -> Live:
    """All of the bot's directory, copied as it is while the bot lives."""
    to = live.tmp.parent / f"{live.tmp.name}-{name}"
    subprocess.run(["cp", "-a", live.tmp, to], check=True)
    (to / "run").unlink(missing_ok=True)
    return Live(to)


def test_a_copy_of_a_live_bot_begins_a_life_of_its_own_and_leaves_the_original_alone(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    live.ticks_on()
    worker = live.book()["pid"]
    ran = live.book()["ticks"]
    copy = copy_of(live, "copy")
    try:
        # Nobody is to be told to end a process that is another home's.
        before = one_line(copy.run("status"))
        assert "no supervisor runs here" in before
        assert str(worker) not in before
        assert copy.run("down").code == 7
        up = copy.up(copy.tmp / "v0")
        up.prints("this home is a copy of home")
        up.prints(f"is left alone: w1 (pid {worker})")
        assert copy.book()["pid"] != worker
        assert copy.book()["ticks"] >= ran, "the journal is gone on from"
        copy.down()
        assert not [one for one in copy.processes() if Path(one.cwd()).is_relative_to(copy.home)]
        live.ticks_on()
        assert live.book()["pid"] == worker
        assert live.status()["outages"] == []
    finally:
        copy.close()
    live.down()
    assert live.audit()["missed"] == 0


def test_a_home_removed_under_a_living_bot_lets_no_second_one_in_and_the_bot_can_be_rescued(
    live: Live,
) -> None:
    code = live.code("v0", COUNTER)
    up = live.up(code)
    live.ticks_on()
    worker = live.book()["pid"]
    end(up)
    shutil.rmtree(live.home)
    refused = live.run("up", "--project", code)
    assert refused.code == 5
    said = one_line(refused)
    assert f"worker pid {worker}" in said
    assert "neverblink up --rescue" in said
    assert "kill" not in said
    assert str(worker) in one_line(live.run("status"))
    live.up(code, "--rescue")
    ends(worker)
    book = live.book()
    assert book["pid"] != worker
    assert book["ticks"] > 0, "the state was rescued from the living worker"
    live.down()
