"""A supervisor that leaves its workers running, and one that takes over from it."""

from __future__ import annotations

from ..processes import wait_for_end
from .live import Live, one_line
from .test_killed import holder
from .test_supervisor_killed import GatedBot


def test_replacing_the_supervisor_during_a_deployment_misses_no_tick(live: Live) -> None:
    bot = GatedBot(live, "50ms")
    bot.up()
    bot.close("v1", "load")
    deploy = live.start("deploy", bot.code("v1"), "--json", "-m", "earlier exits")
    bot.waits("v1", "load")
    bot.close("v0", "decide")
    bot.waits("v0", "decide")
    bot.open("v1", "load")
    live.event(type="step", step="holding", text="decision enter")
    before = bot.supervisor
    leader, pid = holder(live), live.status()["supervisor"]["pid"]
    bot.supervisor = live.up(bot.first, "--replace")
    left = before.ends()
    assert left.code == 0, left
    assert "runs on, and the next `neverblink up` adopts it" in left.out
    status = live.status()
    assert status["supervisor"]["pid"] != pid
    assert status["pid"] == leader
    assert (status["deployment"]["phase"], status["deployment"]["why"]) == ("waiting", "earlier exits")
    bot.open("v0", "decide")
    # The command that follows the deployment still does.
    done = deploy.ends()
    assert done.code == 0, done
    assert done.json["outcome"] == "done"
    live.down()
    report = live.audit()
    assert (report["missed"], report["doubled"]) == (0, 0)


def test_down_with_leave_workers_reports_the_workers_that_keep_running(live: Live) -> None:
    bot = GatedBot(live, "50ms")
    # Without a supervisor to replace, this is an ordinary start.
    bot.supervisor = live.up(bot.first, "--replace")
    leader = holder(live)
    new, number = bot.deploy("load")
    bot.waits(new, "load")
    left = live.run("down", "--leave-workers", "--json", "-m", "a new kernel")
    assert left.code == 0, left
    assert left.json == {"stopped": False, "left": ["w1", "w2"]}
    assert bot.supervisor.ends().code == 0
    bot.ticks_alone()
    for command in ("down", "status"):
        refused = live.run(command)
        assert refused.code == 7
        assert f"w1 (pid {leader}, it leads), w2 (pid " in one_line(refused)
        assert "`neverblink up` adopts it" in one_line(refused)
    bot.up()
    assert live.status()["deployment"]["phase"] == "rehearsing"
    bot.open(new, "load")
    bot.ends(number, "done")
    new_leader = holder(live)
    live.down()
    wait_for_end(new_leader)
    report = live.audit()
    assert (report["missed"], report["doubled"]) == (0, 0)
