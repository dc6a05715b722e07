"""A bot's child processes end with their worker: after a deployment, a kill, `down`, and without a supervisor."""

from __future__ import annotations

import os
import signal

import psutil

from ..processes import wait_for_end
from .bots import COUNTER, bot
from .live import Live

STARTS = bot(
    """
    def on_start(self):
        self.child = subprocess.Popen(["sleep", "600"])
        with open("{tmp}/children", "a") as file:
            file.write(f"{self.child.pid}\\n")

    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")
    """
)


def children(live: Live) -> list[int]:
    return [int(line) for line in (live.tmp / "children").read_text().split()]


def runs(pid: int) -> bool:
    # A zombie has ended, but is not reaped yet.
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def up(live: Live, name: str = "v0") -> None:
    live.up(live.code(name, STARTS.replace("{tmp}", str(live.tmp))))


def test_child_processes_of_the_old_worker_end_with_a_deployment(live: Live) -> None:
    up(live)
    live.deploy(live.code("v1", COUNTER))
    wait_for_end(children(live)[0])


def test_child_processes_of_a_killed_leader_end(live: Live) -> None:
    up(live)
    os.kill(live.book()["pid"], signal.SIGKILL)
    wait_for_end(children(live)[0])
    live.ticks_on()


def test_no_child_process_of_the_bot_is_left_when_down_returns(live: Live) -> None:
    up(live)
    live.down()
    assert not any(map(runs, children(live)))


def test_child_processes_of_a_worker_that_died_without_a_supervisor_end_when_one_returns(live: Live) -> None:
    code = live.code("v0", STARTS.replace("{tmp}", str(live.tmp)))
    supervisor = live.up(code)
    leader = live.book()["pid"]
    supervisor.kill()
    os.kill(leader, signal.SIGKILL)
    wait_for_end(leader)
    assert runs(children(live)[0])
    live.up(code)
    wait_for_end(children(live)[0])
