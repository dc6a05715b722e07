"""A restarted supervisor adopts a live bot: it reports what the previous one did, and no tick is missed."""

from __future__ import annotations

from .bots import STEADY
from .live import CliProcess, Live
from .test_killed import decides, end, ticking


def test_a_restarted_supervisor_reports_everything_that_the_previous_one_did(live: Live) -> None:
    code = live.code("v0", decides(live))
    up = live.up(code)
    (live.tmp / "decide").touch()
    live.prints("deciding")
    # The decision is open, and the worker's next report says so.
    while not (before := live.status())["decisions"]:
        live.event(type="pulse", since=len(live.events))
    end(up)
    live.up(code)
    after = live.status()
    same = ("worker", "pid", "release", "epoch", "interval", "python", "decisions", "state")
    assert {key: after[key] for key in same if key != "decisions"} == {
        key: before[key] for key in same if key != "decisions"
    }
    assert [decision["name"] for decision in after["decisions"]] == ["enter"]
    assert [decision["at"] for decision in after["decisions"]] == [item["at"] for item in before["decisions"]]
    (live.tmp / "decided").touch()
    live.ticks_on()
    assert live.status()["decisions"] == []
    live.down()
    assert live.audit()["missed"] == 0


def test_a_bot_can_be_deployed_to_after_a_while_without_a_supervisor(live: Live) -> None:
    code = live.code("v0", STEADY)
    up: CliProcess = live.up(code)
    live.deploy(live.code("v1", f"{STEADY}# 1\n"))
    end(up)
    ticking(live)
    # The project has the first code; the running bot keeps the second.
    live.up(code)
    assert live.status()["release"] == (live.home / "releases" / "current").readlink().name
    live.deploy(live.code("v2", f"{STEADY}# 2\n"))
    live.ask("rollback", wait=True)
    live.down()
    report = live.audit()
    assert (report["missed"], report["doubled"]) == (0, 0)
