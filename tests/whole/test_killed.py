"""Whichever process is killed, the bot keeps ticking.

A supervisor that is killed and followed by another: see `test_supervisor_killed`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ..matrix import cases
from ..processes import wait_for_end
from .bots import COUNTER, bot, waits
from .live import CliProcess, Live

PARENT = """
def on_start(self):
    self.child = {start}
    say(f"child {{self.child.pid}}")

def on_tick(self, tick):
    self.state.ticks += 1
    say(f"tick {{tick.seq}}")

def on_retire(self):
    self.child.kill()

on_stop = on_retire
"""
CHILDREN = {
    "fork": 'multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)\n'
    "    self.child.start()",
    "subprocess": 'subprocess.Popen(["sleep", "600"], close_fds=False)',
}


@pytest.mark.parametrize("how", cases(CHILDREN, "fork"))
def test_a_forked_child_of_the_bot_does_not_hold_the_lease(live: Live, how: str) -> None:
    source = bot(PARENT.format(start=CHILDREN[how]))
    live.up(live.code("v0", COUNTER))
    old = live.book()
    deploy = live.start("deploy", live.code("v1", source, probation="30s"), "--json")
    live.phase(1, "probation")
    live.ticks_on()
    new, child = live.book()["pid"], int(live.printed("child")[0])
    os.kill(new, signal.SIGKILL)
    rolled_back = deploy.ends()
    assert rolled_back.code == 4, rolled_back
    os.kill(child, 0)  # It is still there.
    live.ticks_on()
    assert live.book()["pid"] == old["pid"]
    os.kill(child, signal.SIGKILL)
    live.down()
    report = live.audit()
    assert report["doubled"] == 0
    # The deployment, and not only the outage, says what was missed until the old code ticked again.
    assert rolled_back.json["missed"] == report["missed"]


def test_the_workers_undo_a_handoff_whose_supervisor_is_killed_in_the_transfer(live: Live) -> None:
    up = live.up(live.code("v0", decides(live)))
    old = holder(live)
    waiting(live)
    new = int(live.printed("waits")[0])
    # It gets the final frame and does nothing with it.
    os.kill(new, signal.SIGSTOP)
    (live.tmp / "decided").touch()
    live.phase(1, "transferring")
    end(up)
    ticking(live)
    assert holder(live) == old
    os.kill(new, signal.SIGCONT)
    ticking(live)
    assert holder(live) == old
    assert live.audit()["doubled"] == 0


def test_a_supervisor_killed_in_the_probation_leaves_the_new_worker_leading_and_the_old_one_following(
    live: Live,
) -> None:
    up = live.up(live.code("v0", COUNTER))
    old = holder(live)
    live.phase(live.begin(live.code("v1", COUNTER, probation="30s")), "probation")
    live.ticks_on()
    new = holder(live)
    end(up)
    ticking(live)
    assert holder(live) == new
    # The rollback works without a supervisor.
    os.kill(new, signal.SIGKILL)
    wait_for_end(new)
    ticking(live)
    assert holder(live) == old
    assert live.audit()["doubled"] == 0


def test_the_old_worker_exits_although_the_supervisor_is_killed_meanwhile(live: Live) -> None:
    up = live.up(live.code("v0", waits("on_retire", live.tmp / "retire")))
    old = holder(live)
    live.phase(live.begin(live.code("v1", COUNTER)), "retiring")
    live.prints("waits")
    end(up)
    (live.tmp / "retire").touch()
    wait_for_end(old)
    ticking(live)
    assert live.audit()["missed"] == 0


def decides(live: Live) -> str:
    """A bot that decides once, when `decide` is there, until `decided` is."""
    return bot(
        f"""
        async def on_tick(self, tick):
            self.state.ticks += 1
            say(f"tick {{tick.seq}}")
            if os.path.exists("{live.tmp}/decide") and not os.path.exists("{live.tmp}/decided"):
                with self.decision("enter"):
                    say("deciding now")
                    while not os.path.exists("{live.tmp}/decided"):
                        await asyncio.sleep(0.01)
        """
    )


def waiting(live: Live) -> None:
    """Have deployment 1 wait for a decision, with everything else done."""
    load = live.tmp / "load"
    live.begin(live.code("v1", waits("on_load", load)))
    live.prints("waits")
    (live.tmp / "decide").touch()
    live.prints("deciding")
    load.touch()
    live.event(type="step", step="holding", text="decision enter")


def end(up: CliProcess) -> None:
    """Kill the supervisor."""
    up.kill()
    assert up.ends().code == -signal.SIGKILL


def ticking(live: Live) -> None:
    """Wait until the bot has printed further ticks: there may be no supervisor to ask."""
    latest = max(map(int, live.printed("tick")))
    live.prints("tick", lambda lines: max(map(int, lines)) > latest + 10)


def holder(live: Live) -> int:
    """The pid of the process that has the lease, according to the kernel."""
    inode = (live.home / "lease").stat().st_ino
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    held = [int(lock[4]) for lock in locks if lock[1] == "POSIX" and int(lock[5].split(":")[2]) == inode]
    assert len(held) == 1, held
    return held[0]
