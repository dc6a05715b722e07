"""`down`: the bot stops once, cleanly, and leaves nothing behind."""

from __future__ import annotations

import pytest

from ..matrix import cases
from .bots import bot, waits
from .live import CliProcess, Live

STOP = """
    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")

    def on_retire(self):
        say("retired")

    def on_stop(self):
        say(f"stopped {os.getpid()}")
    """
STOPS = bot(STOP, tick="50ms")


def test_down_leaves_nothing_behind_after_deployments_of_every_outcome(live: Live) -> None:
    up = live.up(live.code("v0", STOPS))
    live.deploy(live.code("v1", f"{STOPS}# 1\n"))
    crashing = bot("def on_tick(self, tick):\n    raise ValueError('as new code does')")
    assert live.run("deploy", live.code("crashes", crashing, probation="30s")).code == 4
    assert live.run("deploy", live.code("does-not-import", "import nothing_like_it\n")).code == 3
    live.ask("rollback", wait=True)
    leader = live.book()["pid"]
    stopped = live.run("down")
    assert stopped.code == 0, stopped
    gone(live, up)
    assert live.printed("stopped") == [str(leader)]
    assert len(live.printed("retired")) == 2


def test_when_down_returns_nothing_runs_and_the_bot_can_be_started_again(live: Live) -> None:
    code = live.code("v0", STOPS)
    for leave in ([], ["--leave-workers"], []):
        live.up(code)
        assert live.run("down", *leave).code == 0
        after = live.run("status")
        assert after.code == 7, after
        assert "no supervisor runs here" in after.err
    assert live.processes() == []


@pytest.mark.parametrize("phase", cases(["preparing", "rehearsing", "probation"], "probation"))
def test_down_during_a_deployment_stops_the_bot_once_and_leaves_nothing(live: Live, phase: str) -> None:
    up = live.up(live.code("v0", STOPS))
    hook = {"preparing": "on_start", "rehearsing": "on_load"}.get(phase)
    source = waits(hook, live.tmp / "never", STOP, tick="50ms") if hook else STOPS
    number = live.begin(live.code("v1", source, probation="30s"))
    if hook:
        live.prints("waits")
    else:
        live.phase(number, phase)
        live.ticks_on()
    live.down()
    gone(live, up)
    assert len(live.printed("stopped")) == 1
    assert live.audit()["missed"] == 0


def test_ctrl_c_in_up_stops_the_bot_like_down(live: Live) -> None:
    up = live.up(live.code("v0", STOPS))
    live.deploy(live.code("v1", f"{STOPS}# 1\n"))
    leader = live.book()["pid"]
    up.interrupt()
    gone(live, up)
    assert live.printed("stopped") == [str(leader)]
    assert live.audit()["missed"] == 0


def gone(live: Live, up: CliProcess) -> None:
    """Check that the supervisor exited with 0, and that no process, socket or lock is left."""
    ended = up.ends()
    assert ended.code == 0, ended
    assert live.processes() == []
    assert list((live.home / "run").iterdir()) == []
    assert not list(live.home.rglob("*.sock"))
    assert live.run("status").code == 7
