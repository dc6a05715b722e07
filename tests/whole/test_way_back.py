"""Rollbacks: by an operator, by the death of the new worker, by code that fails or hangs."""

from __future__ import annotations

import os
import signal
import time

import pytest

from neverblink.protocol.lease import decode_file

from ..chaos.nemesis_home import cut_power
from ..matrix import cases
from ..processes import wait_for_end
from .bots import STEADY, bot
from .live import Live, unbroken


def test_a_rollback_in_the_probation_returns_to_the_old_process_with_the_newest_state(live: Live) -> None:
    live.up(live.code("v0", STEADY))
    old = live.status()
    deploy = live.start("deploy", live.code("v1", STEADY, probation="30s"), "--json")
    live.phase(1, "probation")
    live.ticks_on()
    new = live.book()
    assert new["pid"] != old["pid"]
    back = live.run("rollback", "-m", "too eager", "--json")
    assert back.code == 0, back
    assert back.json["release"] == old["release"]
    rolled_back = deploy.ends()
    assert rolled_back.code == 4, rolled_back
    assert "too eager" in rolled_back.json["reason"]
    now = live.book()
    # The process that led before, with what the other one has counted since.
    assert now["pid"] == old["pid"]
    assert now["ticks"] >= new["ticks"]
    assert [event["worker"] for event in live.events if event["type"] == "worker-started"] == ["w2"]
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert [handoff["cause"] for handoff in report["handoffs"]] == ["handoff", "handoff"]
    ticks = live.printed("tick")
    unbroken(ticks, report)
    assert len(ticks) == report["ticks"]


def test_a_rollback_after_the_probation_is_a_handoff_with_the_current_state(live: Live) -> None:
    live.up(live.code("v0", STEADY))
    old = live.status()
    live.deploy(live.code("v1", f"{STEADY}# 1\n"))
    new = live.book()
    back = live.run("rollback", "--json")
    assert back.code == 0, back
    assert back.json["outcome"] == "done"
    assert back.json["release"] == old["release"]
    now = live.book()
    assert now["ticks"] >= new["ticks"]
    assert now["pid"] not in (old["pid"], new["pid"])
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    unbroken(live.printed("tick"), report)


def test_the_old_worker_takes_over_when_the_new_one_is_killed_in_its_probation(live: Live) -> None:
    live.up(live.code("v0", STEADY))
    old = live.status()
    deploy = live.start("deploy", live.code("v1", STEADY, probation="30s"), "--json")
    live.phase(1, "probation")
    live.ticks_on()
    new = live.book()
    os.kill(new["pid"], signal.SIGKILL)
    rolled_back = deploy.ends()
    assert rolled_back.code == 4, rolled_back
    assert "SIGKILL" in rolled_back.json["reason"]
    live.ticks_on()
    now = live.book()
    assert now["pid"] == old["pid"]
    assert now["ticks"] >= new["ticks"]
    live.down()
    report = live.audit()
    assert report["doubled"] == 0
    assert [handoff["cause"] for handoff in report["handoffs"]] == ["handoff", "failover"]
    # Missed ticks are recorded with their cause.
    assert all("died" in gap["cause"] for gap in report["missing"]), report["missing"]
    assert report["missed"] == report["handoffs"][1]["missed"]


BAD = {
    "raises": (
        "def on_tick(self, tick):\n    raise ValueError('as new code does')",
        "ValueError: as new code does",
    ),
    "hangs": ("async def on_tick(self, tick):\n    await asyncio.sleep(3600)", "no tick for"),
    "blocks": ("def on_tick(self, tick):\n    while True:\n        pass", "no tick for"),
    "exits": ("def on_tick(self, tick):\n    os._exit(7)", "exit 7"),
}


@pytest.mark.parametrize("how", cases(BAD, "raises", "hangs"))
def test_new_code_that_fails_in_its_probation_is_rolled_back(live: Live, how: str) -> None:
    handlers, reason = BAD[how]
    live.up(live.code("v0", STEADY))
    old = live.book()
    rolled_back = live.run("deploy", live.code("v1", bot(handlers), probation="30s"), "--json")
    assert rolled_back.code == 4, rolled_back
    assert reason in rolled_back.json["reason"]
    live.ticks_on()
    now = live.book()
    assert now["pid"] == old["pid"]
    assert now["ticks"] > old["ticks"]
    live.down()
    report = live.audit()
    assert report["doubled"] == 0
    assert all(gap["cause"] for gap in report["missing"]), report["missing"]


SLOW = bot(
    """
    async def on_tick(self, tick):
        say("begins")
        await asyncio.sleep(0.6)
        self.state.ticks += 1
    """,
    tick="1s",
)
"""Its boundaries are far apart: between the command to yield and the boundary there is time for a fault."""


@pytest.mark.deep
def test_rolled_back_code_does_not_lead_again_when_the_old_worker_dies_at_once(live: Live) -> None:
    up = live.up(live.code("v0", SLOW, hang_after="30s"))
    before = live.status()
    code = live.code("v1", SLOW + "# v1\n", probation="30s", hang_after="30s")
    number = live.begin(code)
    live.phase(number, "probation")
    begun = len(live.printed("begins"))
    live.prints("begins", lambda lines: len(lines) > begun)
    live.send("rollback")
    live.phase(number, "reverting")
    # The phase is published before its commands are sent: what is answered after it comes after them too.
    live.status()
    # The stopped supervisor cannot dismiss the new worker before the old one has led and died.
    os.kill(up.pid, signal.SIGSTOP)
    _wait_for_epoch(live, 3)
    os.kill(before["pid"], signal.SIGKILL)
    wait_for_end(before["pid"])
    os.kill(up.pid, signal.SIGCONT)
    outcome = live.ended(number)["outcome"]
    live.event(lambda event: event["worker"] and event["epoch"] > 3, type="leader")
    leads = live.status()["release"]
    assert (leads == before["release"]) == (outcome == "rolled_back")
    live.ticks_on()
    live.down()


@pytest.mark.deep
def test_code_in_probation_does_not_lead_again_after_a_power_cut(live: Live) -> None:
    code = live.code("v0", SLOW, hang_after="30s")
    up = live.up(code)
    before = live.status()
    number = live.begin(live.code("v1", SLOW + "# v1\n", probation="30s", hang_after="30s"))
    live.phase(number, "waiting")
    # When this is answered, the command is sent. The history never learns that the new worker has led.
    live.status()
    os.kill(up.pid, signal.SIGSTOP)
    _wait_for_epoch(live, 2)
    cut_power(live.processes())
    up.ends()
    live.up(code)
    after = live.status()
    assert after["release"] == before["release"]
    assert live.ask("history", deployment=number)["outcome"] == "rolled_back"
    live.ticks_on()
    live.down()


def _wait_for_epoch(live: Live, epoch: int) -> None:
    """Wait until a worker has taken the lease under this epoch."""
    until = time.monotonic() + 30
    while (holder := decode_file((live.home / "lease").read_bytes())) is None or holder.epoch < epoch:
        assert time.monotonic() < until, f"the lease is still under {holder}"
        time.sleep(0.001)
