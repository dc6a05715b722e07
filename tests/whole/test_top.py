"""`neverblink top` in a real terminal, beside a real bot: a deployment, a pause, a supervisor that dies and is back."""

from __future__ import annotations

from contextlib import closing

import pytest

from .bots import bot
from .live import Live
from .terminal import Terminal

BOT = bot(tick="100ms")


@pytest.mark.deep
def test_top_shows_a_deployment_a_pause_and_the_death_and_return_of_the_supervisor(live: Live) -> None:
    first, second = live.code("v1", BOT), live.code("v2", BOT)
    up = live.up(first)
    with closing(Terminal("top", where=live.tmp, environment=live.environment)) as top:
        top.shows(
            "fox  running", "leader    w1, epoch 1", "one every 100ms", "●w1", "no deployment yet", "q quit"
        )
        live.deploy(second)
        top.shows("✓ handed", "▲w2 #1", "deployment 1 done", "leader    w2, epoch 2")
        top.press("p")
        top.shows("pause the bot? y/n")
        # Anything but yes is no.
        top.press("n")
        top.shows("q quit   p pause, resume")
        assert not live.status()["paused"]
        top.press("p")
        top.shows("pause the bot? y/n")
        top.press("y")
        top.shows("fox  paused", "no new entries")
        assert live.status()["paused"]
        top.press("d")
        top.shows("in another terminal:  neverblink deploy PATH")
        up.kill()
        up.ends()
        away = top.shows("the supervisor has not answered", "the bot ticks on without it")
        assert "leader    w2" in away
        live.up(second)
        top.shows_no_more("away      ", "q quit")
        top.press("p")
        top.shows("resume the bot? y/n")
        top.press("y")
        top.shows("fox  running")
        top.press("q")
        assert top.ends() == 0
        # The screen that was there before is there again, and its cursor.
        assert "\x1b[?1049l" in top.raw
        assert "\x1b[?25h" in top.raw
    once = live.run("top", "--once")
    assert once.code == 0
    assert "fox  running" in once.out
    assert "▲w2 #1" in once.out
    assert max(map(len, once.out.splitlines())) <= int(live.environment["COLUMNS"])
    answer = live.run("top", "--json").json
    assert answer["status"]["worker"] == "w2"
    assert [tick["worker"] for tick in answer["ticks"] if tick["kind"] == "change"] == ["w1", "w2"]
    seqs = [tick["seq"] for tick in answer["ticks"] if tick["kind"] == "tick" and tick["epoch"] == 2]
    assert seqs
    assert seqs == sorted(set(seqs))
    live.down()
    gone = live.run("top")
    assert gone.code == 7
