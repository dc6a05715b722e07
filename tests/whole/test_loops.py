"""Bots that are plain loops hand over, stop and fail like the class."""

from __future__ import annotations

import pytest

from ..matrix import cases
from .bots import STEADY, loop
from .live import Live, unbroken

PLAIN = loop(
    """
    def main():
        loop = join(Book, tick="50ms")
        for tick in loop:
            tick.state.ticks += 1
            say(f"tick {tick.seq}")
            for command in tick.commands:
                tick.answers[command.key] = {"pid": os.getpid(), "ticks": tick.state.ticks}
        say(f"over {loop.stopped}")
    """
)
ASYNC = PLAIN.replace("def main", "async def main").replace("for tick in", "async for tick in")
MISTAKEN = """

def mistaken(file):
    if os.path.exists(file):
        os.unlink(file)
        raise ValueError("the loop's own mistake")
"""


@pytest.mark.parametrize("source", cases([PLAIN, ASYNC], PLAIN), ids=["for", "async for"])
def test_a_loop_hands_over_like_the_class_and_knows_a_stop_from_a_retirement(live: Live, source: str) -> None:
    live.up(live.code("class0", STEADY))
    live.deploy(live.code("loop1", source, target="main"), change_bot=True)
    live.deploy(live.code("loop2", f"{source}# 2\n", target="main"), change_bot=True)
    live.deploy(live.code("class3", f"{STEADY}# 3\n"), change_bot=True)
    live.deploy(live.code("loop4", f"{source}# 4\n", target="main"), change_bot=True)
    counted = live.book()["ticks"]
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["handoffs_total"] == 4
    ticks = live.printed("tick")
    unbroken(ticks, report)
    assert counted <= len(ticks)
    assert live.printed("over") == ["False", "False", "True"]


@pytest.mark.parametrize("source", cases([PLAIN, ASYNC], ASYNC), ids=["for", "async for"])
def test_an_exception_in_the_loops_body_is_a_failure(live: Live, source: str) -> None:
    mistake = live.tmp / "mistake"
    counts = "tick.state.ticks += 1"
    first = source.replace(counts, f"{counts}; mistaken('{mistake}')") + MISTAKEN
    live.up(live.code("v0", first, target="main"))
    bad = source.replace(counts, "raise ZeroDivisionError('as new code does')")
    rolled_back = live.run("deploy", live.code("bad", bad, target="main"), "--change-bot", "--json")
    assert rolled_back.code == 4, rolled_back
    assert "ZeroDivisionError: as new code does" in rolled_back.json["reason"]
    live.ticks_on()
    # Outside a probation it counts as an ordinary death.
    mistake.touch()
    ended = live.event(type="worker-exited", worker="w1")
    assert (ended["code"], "ValueError: the loop's own mistake" in ended["reason"]) == (1, True), ended
    live.ticks_on()
    status = live.status()
    assert status["worker"] == "w3"
    assert status["failure"]["reason"] == ended["reason"]
    assert live.printed("over") == []
    live.down()
    assert live.audit()["doubled"] == 0
