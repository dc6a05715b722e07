"""Bots that leak file descriptors: they tick on at their limit, and a deployment fixes them."""

from __future__ import annotations

import resource

import psutil
import pytest

from .bots import COUNTER, bot
from .live import Live, one_line

GREEDY = """
    kept = []

    def on_start(self):
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")
        try:
            while self.state.ticks > 3:
                self.kept.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
    """
"""At its limit from the fourth tick on, whatever is closed meanwhile."""


def at_its_limit(live: Live) -> None:
    live.status_with(lambda status: status["descriptors"] and not status["descriptors"]["left"])


@pytest.mark.parametrize("tick", ["10ms", pytest.param("250ms", marks=pytest.mark.deep)])
def test_a_leader_without_descriptors_is_reported_and_a_deployment_fixes_it(live: Live, tick: str) -> None:
    live.up(live.code("v0", bot(GREEDY, tick=tick)))
    at_its_limit(live)
    assert live.status()["descriptors"] == {"left": 0, "limit": 128, "reserve": 16, "short": True}
    assert "0 of 128 file descriptors left" in live.run("status").out
    old = live.book()
    ended = live.deploy(live.code("v1", bot(tick=tick)))
    assert ended["outcome"] == "done", ended
    assert ended["missed"] == 0
    assert live.book()["pid"] != old["pid"]
    assert not any(event["code"] for event in live.events if event["type"] == "worker-exited")


@pytest.mark.deep
def test_a_restarted_supervisor_adopts_a_leader_without_descriptors(live: Live) -> None:
    up = live.up(live.code("v0", bot(GREEDY)))
    at_its_limit(live)
    old = live.book()
    up.kill()
    live.up(live.tmp / "v0")
    assert live.book()["pid"] == old["pid"]
    assert live.deploy(live.code("v1", COUNTER))["outcome"] == "done"


@pytest.mark.deep
def test_a_release_that_leaks_descriptors_passes_its_probation_and_the_next_one_fixes_it(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    ended = live.deploy(live.code("v1", bot(GREEDY), probation="500ms"))
    assert ended["outcome"] == "done", ended
    at_its_limit(live)
    assert live.deploy(live.code("v2", COUNTER))["outcome"] == "done"


def test_a_deployment_is_refused_with_its_reason_while_the_leader_cannot_open_what_it_needs(
    live: Live,
) -> None:
    live.up(live.code("v0", COUNTER))
    leader = live.book()["pid"]
    before = resource.prlimit(leader, resource.RLIMIT_NOFILE)
    code = live.code("v1", f"{COUNTER}# 1\n")
    # Fewer than it has open: it can reopen neither its descriptors nor the reserve.
    resource.prlimit(leader, resource.RLIMIT_NOFILE, (8, before[1]))
    live.status_with(lambda status: status["descriptors"] and not status["descriptors"]["reserve"])
    refused = live.run("deploy", code)
    assert refused.code == 5
    line = one_line(refused)
    assert "the leader w1 has 0 of 8 file descriptors left, and a handoff needs 8" in line
    assert "`neverblink down` and then `up`" in line
    resource.prlimit(leader, resource.RLIMIT_NOFILE, before)
    live.status_with(lambda status: not status["descriptors"] or not status["descriptors"]["short"])
    assert live.deploy(code)["outcome"] == "done"
    assert live.book()["pid"] != leader


def test_a_deployment_is_refused_with_its_reason_while_the_supervisor_has_no_descriptors(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    supervisor = live.status()["supervisor"]["pid"]
    before = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    code = live.code("v1", f"{COUNTER}# 1\n")
    most = psutil.Process(supervisor).num_fds() + 20
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (most, before[1]))
    # Over the connection that is there already: no other client can connect now.
    answer = live.answer(live.send("deploy", path=str(code), wait=True))
    assert answer["error"]["code"] == "busy", answer
    assert "file descriptors left, and a deployment needs 24" in answer["error"]["message"]
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, before)
    assert live.deploy(code)["outcome"] == "done"
