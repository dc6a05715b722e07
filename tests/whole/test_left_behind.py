"""What a bot starts ends with the worker that started it: after a deployment, a kill, `down`, and unseen."""

from __future__ import annotations

import os
import signal

import psutil

from .bots import COUNTER, bot
from .live import Live, ends

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
    # A zombie has ended; only nobody has asked how.
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def up(live: Live, name: str = "v0") -> None:
    live.up(live.code(name, STARTS.replace("{tmp}", str(live.tmp))))


def test_what_the_old_worker_started_ends_with_a_deployment(live: Live) -> None:
    up(live)
    live.deploy(live.code("v1", COUNTER))
    ends(children(live)[0])


def test_what_a_killed_leader_started_ends(live: Live) -> None:
    up(live)
    os.kill(live.book()["pid"], signal.SIGKILL)
    ends(children(live)[0])
    live.ticks_on()


def test_nothing_that_the_bot_started_is_left_when_down_has_ended(live: Live) -> None:
    up(live)
    live.down()
    assert not any(map(runs, children(live)))


def test_what_a_worker_started_that_died_unseen_ends_when_a_supervisor_comes_back(live: Live) -> None:
    code = live.code("v0", STARTS.replace("{tmp}", str(live.tmp)))
    supervisor = live.up(code)
    leader = live.book()["pid"]
    supervisor.kill()
    os.kill(leader, signal.SIGKILL)
    ends(leader)
    assert runs(children(live)[0])
    live.up(code)
    ends(children(live)[0])
