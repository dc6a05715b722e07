"""A standby: the leader dies in some way, and the bot continues on the standby."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from ..matrix import cases
from ..processes import wait_for_end
from .bots import COUNTER, STEADY, bot
from .live import Live
from .test_killed import end

DIES = {
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "aborts": "os.abort()",
    "raises": "raise RuntimeError('no price')",
}

MORTAL = """
    def on_lead(self, in_doubt):
        say(f"leads {{os.getpid()}} {{[(d.id, d.name) for d in in_doubt]}}")

    def on_tick(self, tick):
        import signal
        self.state.ticks += 1
        say(f"tick {{tick.seq}}")
        if os.path.exists("{gate}"):
            os.unlink("{gate}")
            decision = self.decision("enter", market="BTC").__enter__()
            say(f"dies {{decision.id}}")
            {how}
    """


def ready(live: Live, since: int = 0) -> str:
    """Wait until a standby is ready, from event number `since` on; return its worker id."""
    return str(live.event(type="standby", state="ready", since=since)["worker"])


def pid_of(live: Live, worker: str) -> int:
    return next(item["pid"] for item in live.status()["workers"] if item["worker"] == worker)


@pytest.mark.parametrize("how", cases(DIES, "is killed"))
def test_the_standby_takes_over_when_the_leader_dies_and_a_new_standby_is_started(
    live: Live, how: str
) -> None:
    gate = live.tmp / "gate"
    live.up(live.code("v0", bot(MORTAL.format(how=DIES[how], gate=gate), tick="20ms"), standby=1))
    assert ready(live) == "w2"
    before = live.book()
    seen = len(live.events)
    gate.touch()
    live.event(type="leader", worker="w2", cause="failover")
    assert ready(live, seen) == "w3"
    live.ticks_on()
    after = live.book()
    assert after["pid"] == pid_of(live, "w2") != before["pid"]
    assert after["ticks"] > before["ticks"]
    (doomed,) = live.printed("dies")
    assert f"('{doomed}', 'enter')" in live.printed("leads")[1]
    status = live.status()
    (outage,) = status["outages"]
    assert (outage["worker"], outage["successor"]) == ("w1", "w2")
    assert outage["until"] is not None
    assert [doubt["id"] for doubt in outage["in_doubt"]] == [doomed]
    assert outage["cause"]
    assert (status["standby"]["worker"], status["standby"]["state"]) == ("w3", "ready")
    assert "standby" in live.run("status").out
    live.down()
    report = live.audit()
    assert (report["doubled"], report["deaths_total"]) == (0, 1)


def test_a_restarted_supervisor_keeps_the_standby(live: Live) -> None:
    code = live.code("v0", COUNTER, standby=1)
    up = live.up(code)
    assert ready(live) == "w2"
    leader, spare = pid_of(live, "w1"), pid_of(live, "w2")
    end(up)
    live.up(code)
    standby = live.status()["standby"]
    assert (standby["worker"], standby["state"]) == ("w2", "ready")
    os.kill(leader, signal.SIGKILL)
    live.event(type="leader", worker="w2", cause="failover")
    live.ticks_on()
    assert live.book()["pid"] == spare
    live.down()
    assert live.audit()["doubled"] == 0


def test_the_standby_is_kept_during_a_deployment_and_replaced_once_the_new_release_is_proven(
    live: Live,
) -> None:
    live.up(live.code("v0", COUNTER, standby=1))
    first = ready(live)
    seen = len(live.events)
    live.deploy(live.code("v1", f"{COUNTER}# 1\n", standby=1))
    release = live.status()["release"]
    second = str(
        live.event(lambda event: event["release"] == release, type="standby", state="ready", since=seen)[
            "worker"
        ]
    )
    assert second != first
    live.event(type="worker-exited", worker=first)
    assert [worker["role"] for worker in live.status()["workers"]].count("following") == 1
    leader = live.book()["pid"]
    os.kill(leader, signal.SIGKILL)
    live.event(type="leader", worker=second, cause="failover")
    live.ticks_on()
    assert live.status()["release"] == release
    live.down()
    assert live.audit()["doubled"] == 0


def test_a_standby_on_the_new_code_never_takes_over_during_a_probation(live: Live) -> None:
    live.up(live.code("v0", COUNTER, standby=1))
    ready(live)
    proven = live.status()["release"]
    loads = bot("""
        def on_load(self, state):
            say(f"loads {os.getpid()}")

        def on_tick(self, tick):
            self.state.ticks += 1
        """)
    deployment = live.begin(live.code("v1", loads, standby=1, probation="60s"))
    live.phase(deployment, "probation")
    new = live.event(type="step", step="spawned")["facts"]["worker"]
    spare = live.event(
        lambda event: event["release"] != proven and event["worker"] != new, type="worker-started"
    )
    live.prints("loads", lambda lines: str(spare["pid"]) in lines)
    os.kill(pid_of(live, new), signal.SIGKILL)
    ended = live.ended(deployment)
    assert ended["outcome"] == "rolled_back"
    assert ended["leader"] not in (new, spare["worker"])
    live.ticks_on()
    assert live.status()["release"] == proven
    live.down()
    assert live.audit()["doubled"] == 0


@pytest.mark.deep
def test_replaced_code_does_not_lead_again_when_the_leader_dies_after_the_deployment(live: Live) -> None:
    live.up(live.code("v0", COUNTER, standby=1))
    ready(live)
    gate = live.tmp / "gate"
    gate.touch()
    # No standby on the new code is ready before the leader is dead.
    slow = bot(f"""
        async def on_start(self):
            if os.path.exists("{gate}.later"):
                while os.path.exists("{gate}"):
                    await asyncio.sleep(0.005)

        def on_tick(self, tick):
            self.state.ticks += 1
            say(f"tick {{tick.seq}}")
        """)
    deployment = live.begin(live.code("v1", slow, standby=1))
    live.phase(deployment, "rehearsing")
    (live.tmp / "gate.later").touch()
    ended = live.ended(deployment)
    assert ended["outcome"] == "done"
    release = live.status()["release"]
    seen = len(live.events)
    os.kill(live.book()["pid"], signal.SIGKILL)
    gate.unlink()
    live.event(lambda event: event["worker"], type="leader", since=seen)
    live.ticks_on()
    assert live.status()["release"] == release
    live.down()
    assert live.audit()["doubled"] == 0


def test_the_standby_takes_over_when_the_leader_dies_in_a_deployment_and_the_deployment_is_aborted(
    live: Live,
) -> None:
    live.up(live.code("v0", COUNTER, standby=1))
    standby = ready(live)
    old = live.book()["pid"]
    gate = live.tmp / "never"
    slow = bot(f"""
        async def on_load(self, state):
            say("loading now")
            while not os.path.exists("{gate}"):
                await asyncio.sleep(0.01)

        def on_tick(self, tick):
            self.state.ticks += 1
        """)
    deployment = live.begin(live.code("v1", slow, standby=1))
    live.prints("loading")
    os.kill(old, signal.SIGKILL)
    ended = live.ended(deployment)
    assert (ended["outcome"], ended["leader"]) == ("aborted", standby)
    live.ticks_on()
    live.down()
    assert live.audit()["doubled"] == 0


def test_the_standby_takes_over_without_a_supervisor(live: Live) -> None:
    up = live.up(live.code("v0", COUNTER, standby=1))
    standby = pid_of(live, ready(live))
    old = live.book()["pid"]
    up.kill()
    up.ends()
    os.kill(old, signal.SIGKILL)
    wait_for_end(old)
    latest = max(map(int, live.printed("tick")))
    live.prints("tick", lambda lines: max(map(int, lines)) > latest + 5)
    os.kill(standby, signal.SIGKILL)


def test_a_standby_that_dies_is_started_again(live: Live) -> None:
    live.up(live.code("v0", STEADY, standby=1))
    first = ready(live)
    seen = len(live.events)
    os.kill(pid_of(live, first), signal.SIGKILL)
    assert ready(live, seen) != first
    assert live.status()["outages"] == []
    live.down()
    assert live.audit()["missed"] == 0


@pytest.mark.deep
def test_deploying_to_a_bot_that_is_down_recovers_its_state_from_the_journal(live: Live) -> None:
    deadly: dict[str, Any] = {"how": "raise RuntimeError('no price')", "gate": live.tmp / "gate"}
    source = bot(MORTAL.format(**deadly).replace("os.unlink", "os.path.exists"))
    live.up(live.code("v0", source))
    live.ticks_on()
    before = live.book()["ticks"]
    (live.tmp / "gate").touch()
    live.event(lambda event: "6 times in a row" in event["cause"], type="leader", worker="")
    status = live.status()
    assert status["state"] == "down"
    assert "RuntimeError: no price" in status["failure"]["traceback"]
    assert status["outages"][0]["deaths"] == 6
    ended = live.deploy(live.code("v1", COUNTER))
    assert ended["outcome"] == "done"
    live.ticks_on()
    assert live.book()["ticks"] > before
    (outage,) = live.status()["outages"]
    assert outage["until"] is not None
    live.down()
    assert live.audit()["doubled"] == 0
