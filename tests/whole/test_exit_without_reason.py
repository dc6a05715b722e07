"""A worker that exits with 0 without being asked to has failed, and the reason says so."""

from __future__ import annotations

from .bots import COUNTER, bot
from .live import Live

_NO_REASON = "it ended by itself with exit 0 and gave no reason"
_LEAVES = """
async def on_start(self):
    say("leaves now")
    os._exit(0)
"""
_LEAVES_IN_A_TICK = """
async def on_start(self):
    self.ran = 0

async def on_tick(self, tick):
    self.state.ticks += 1
    self.ran += 1
    if self.ran == 3:
        os._exit(0)
"""


def test_a_new_worker_that_exits_with_0_fails_the_deployment_and_the_bot_keeps_ticking(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    begun = live.begin(live.code("v1", bot(_LEAVES)))
    ended = live.ended(begun)
    assert ended["outcome"] == "aborted"
    assert _NO_REASON in ended["reason"]
    assert "leaves now" in ended["reason"]
    begun = live.begin(live.code("v2", bot(_LEAVES_IN_A_TICK), probation="5s"))
    ended = live.ended(begun)
    assert ended["outcome"] == "rolled_back"
    assert _NO_REASON in ended["reason"]
    live.ticks_on()
    live.down()


def test_a_first_start_that_exits_with_0_fails_with_that_reason(live: Live) -> None:
    ended = live.run("up", "--project", live.code("v0", bot(_LEAVES)))
    assert ended.code != 0
    assert _NO_REASON in ended.err
