"""A bot that catches up and is always late: it is rehearsed, deployed, proven and rolled back like any other."""

from __future__ import annotations

from textwrap import dedent

import pytest

from ..matrix import cases
from .live import Live

_HEAD = """
import asyncio, time
import msgspec
from neverblink.worker import Worker, join

class Book(msgspec.Struct):
    ticks: int = 0
    late: int = 0
"""
_ASYNC = """
class Bot(Worker[Book]):
    tick = "100ms"
    overrun = "catch-up"

    async def on_tick(self, tick):
        self.state.ticks += 1
        self.state.late = tick.late
        await asyncio.sleep(0.12)

    def on_command(self, name, args):
        return msgspec.to_builtins(self.state)
"""
_LOOP = """
def Bot():
    for tick in join(Book, tick="100ms", overrun="catch-up"):
        tick.state.ticks += 1
        tick.state.late = tick.late
        time.sleep(0.12)
        for command in tick.commands:
            tick.answers[command.key] = msgspec.to_builtins(tick.state)
"""
BOTS = {
    "async": _ASYNC,
    "plain": _ASYNC.replace("async def", "def").replace("await asyncio.sleep", "time.sleep"),
    "join": _LOOP,
}


@pytest.mark.parametrize("kind", cases(BOTS, "plain"))
def test_a_bot_that_is_always_late_is_deployed_and_rolled_back_and_loses_no_tick(
    live: Live, kind: str
) -> None:
    code = dedent(_HEAD + BOTS[kind])
    live.up(live.code("v0", code))
    first = live.status()["seq"]
    live.status_with(lambda status: status["skipped"] == 0 and status["seq"] > first + 15)
    dry = live.deploy(live.code("v1", f"{code}# 1\n", probation="1s"), dry_run=True)
    assert dry["outcome"] == "rehearsed", dry
    done = live.deploy(live.code("v2", f"{code}# 2\n", probation="1s"))
    assert (done["outcome"], done["missed"]) == ("done", 0), done
    assert live.book()["late"] > 100_000_000
    begun = live.begin(live.code("v3", f"{code}# 3\n", probation="30s"))
    live.phase(begun, "probation")
    assert live.run("rollback").code == 0
    assert live.ended(begun)["outcome"] == "rolled_back"
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["skipped"] == []
