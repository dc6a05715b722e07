"""What a bot comes back to: after `restart`, after its supervisor's end, with a damaged history or project."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ..matrix import cases
from ..processes import wait_for_end
from .bots import COUNT, STEADY, bot
from .live import Live


def test_restart_replaces_the_process_and_no_tick_is_missed(live: Live) -> None:
    live.up(live.code("fox", STEADY))
    before = live.status()
    assert (restart := live.run("restart", "-m", "a leak")).code == 0, restart
    after = live.status()
    assert after["release"] == before["release"]
    assert after["pid"] != before["pid"]
    wait_for_end(before["pid"])
    live.ticks_on()
    live.down()
    report = live.audit()
    assert (report["missed"], report["doubled"]) == (0, 0)


CRASH_LOOP = bot(
    """
    def on_tick(self, tick):
        self.led = getattr(self, "led", 0) + 1
        if self.led > 20:
            raise ValueError("no price")
    """,
    tick="20ms",
)
"""Each leader runs 20 ticks, which takes less time than the new code needs to start."""
SLOW_MEND = bot(
    f"""
    async def on_start(self):
        await asyncio.sleep(1.5)
    {COUNT}""",
    tick="20ms",
)


@pytest.mark.deep
def test_a_fix_can_be_deployed_in_a_crash_loop_without_a_leader_to_hand_over(
    live: Live,
) -> None:
    live.up(live.code("crashes", CRASH_LOOP))
    live.event(type="start-planned")
    deployed = live.run("deploy", live.code("mended", SLOW_MEND))
    assert deployed.code == 0, deployed
    live.ticks_on()
    assert live.status()["state"] == "running"
    live.down()
    assert live.audit()["doubled"] == 0


def test_a_failed_deployment_of_a_bot_without_a_leader_exits_with_8(live: Live) -> None:
    live.up(live.code("crashes", CRASH_LOOP))
    live.event(type="start-planned")
    failing = bot("def on_start(self):\n    raise ValueError('no key')")
    failed = live.run("deploy", live.code("worse", failing))
    assert (failed.code, "no key" in failed.out + failed.err) == (8, True), failed
    live.down()


def test_leads_for_counts_from_the_first_tick_rather_than_from_the_adoption(live: Live) -> None:
    code = live.code("fox", STEADY)
    live.up(code)
    # The first tick has been reported.
    live.ticks_on()
    before = live.status()
    assert (left := live.run("down", "--leave-workers")).code == 0, left
    live.up(code)
    after = live.status()
    assert after["pid"] == before["pid"]
    # One supervisor has seen it take the lease, the other goes by its first tick, which ran before the adoption.
    assert before["since"] <= after["since"] + before["interval"]
    assert after["since"] < before["at"]
    live.down()


def test_the_status_says_who_paused_the_bot_and_why(live: Live) -> None:
    code = live.code("fox", STEADY)
    live.up(code)
    assert live.run("pause", "-m", "the exchange is in maintenance").code == 0
    assert "paused by " in (shown := live.run("status").out)
    assert ": the exchange is in maintenance" in shown
    # The next supervisor reports it too.
    assert live.run("down", "--leave-workers").code == 0
    live.up(code)
    assert ": the exchange is in maintenance" in live.run("status").out
    assert live.run("resume").code == 0
    assert "maintenance" not in live.run("status").out.partition("locked")[0]
    live.down()


@pytest.mark.parametrize("text", cases([b"name = ", b"\xff\xfe", b"", None], b"name = "))
def test_up_adopts_a_running_bot_whose_configuration_is_broken(live: Live, text: bytes | None) -> None:
    code = live.code("fox", STEADY)
    live.up(code)
    release = live.status()["release"]
    live.down()
    toml = code / "neverblink.toml"
    if text is None:
        toml.unlink()
    else:
        toml.write_bytes(text)
    up = live.up(code)
    up.prints(f"using the configuration of release {release}")
    assert live.status()["release"] == release
    live.down()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


@pytest.mark.parametrize("harm", cases([cut_short, Path.unlink], cut_short))
def test_up_adopts_a_running_bot_whose_history_is_damaged_or_missing(
    live: Live, harm: Callable[[Path], object]
) -> None:
    code = live.code("fox", STEADY, standby=1)
    up = live.up(code)
    live.event(type="standby", state="ready")
    before = live.status()
    os.kill(before["supervisor"]["pid"], signal.SIGKILL)
    up.ends()
    database = live.home / "supervisor.db"
    for ending in ("-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)
    harm(database)
    live.up(code)
    after = live.status()
    assert (after["worker"], after["pid"], after["release"]) == (
        before["worker"],
        before["pid"],
        before["release"],
    )
    # The old standby is unknown to the new supervisor, and another takes its place.
    (standby,) = (worker["pid"] for worker in before["workers"] if worker["pid"] != before["pid"])
    wait_for_end(standby)
    live.event(type="standby", state="ready")
    live.down()
    report = live.audit()
    assert (report["missed"], report["doubled"]) == (0, 0)


@pytest.mark.deep
def test_a_deployment_number_is_not_reused_when_the_history_is_lost(live: Live) -> None:
    code = live.code("fox", STEADY)
    live.up(code)
    first = live.deploy(live.code("v1", f"{STEADY}# 1\n"))["deployment"]
    live.down()
    for file in live.home.glob("supervisor.db*"):
        file.unlink()
    live.up(code)
    assert live.deploy(live.code("v2", f"{STEADY}# 2\n"))["deployment"] == first + 1
    live.down()


def test_a_death_in_a_probation_without_a_missed_tick_needs_no_acknowledgement(live: Live) -> None:
    live.up(live.code("v0", STEADY, probation="30s"))
    deployment = live.begin(live.code("v1", bot(tick="10ms"), probation="30s"))
    live.phase(deployment, "probation")
    live.ticks_on()
    leader = live.status()
    os.kill(leader["pid"], signal.SIGKILL)
    live.ended(deployment)
    live.ticks_on()
    # On a busy machine it may have cost one.
    for outage in live.ask("history")["outages"]:
        assert outage["missed"] or outage["acknowledged"] is not None, outage
    assert all(outage["missed"] for outage in live.status()["outages"])
    live.down()


@pytest.mark.deep
def test_a_pause_that_only_the_history_recorded_is_restored(live: Live) -> None:
    """A power cut takes the end of a file: here of the journal, and not of the history."""
    code = live.code("fox", bot(tick="200ms"))
    up = live.up(code)
    live.ticks_on()
    (segment,) = (live.home / "journal").iterdir()
    before = segment.stat().st_size
    live.ticks_on()
    assert live.run("pause", "-m", "maintenance").code == 0
    status = live.status()
    for pid in (status["supervisor"]["pid"], status["pid"]):
        os.kill(pid, signal.SIGKILL)
    up.ends()
    wait_for_end(status["pid"])
    os.truncate(segment, before)
    live.up(code)
    after = live.status()
    assert after["state"] == "paused"
    assert after["pause"]["op"] == "journal"
    assert live.run("resume").code == 0
    assert live.status()["state"] == "running"
    live.down()
