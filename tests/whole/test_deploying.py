"""The commands around a deployment, as an operator types them."""

from __future__ import annotations

from .bots import STEADY, bot, waits
from .live import Live, one_line, unbroken


def test_a_second_deploy_is_refused_with_the_id_of_the_first_and_replace_supersedes_it(live: Live) -> None:
    live.up(live.code("v0", STEADY))
    first = live.start("deploy", live.code("v1", waits("on_start", live.tmp / "never")), "--json")
    number = _spawned(live)
    second = live.code("v2", f"{STEADY}# 2\n")
    refused = live.run("deploy", second)
    assert refused.code == 5, refused
    assert f"deployment {number}" in one_line(refused)
    superseding = live.run("deploy", second, "--replace", "--json")
    assert superseding.code == 0, superseding
    superseded = first.ends()
    assert superseded.code == 3, superseded
    assert superseded.json["deployment"] == number
    assert superseded.json["reason"] == "replaced by another deployment"
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["handoffs_total"] == 1


def test_ctrl_c_cancels_the_deployment_and_leaves_the_bot_running(live: Live) -> None:
    live.up(live.code("v0", STEADY))
    deploy = live.start("deploy", live.code("v1", waits("on_start", live.tmp / "never")))
    _spawned(live)
    deploy.interrupt()
    cancelled = deploy.ends()
    assert cancelled.code == 3, cancelled
    assert "cancelling deployment 1; the bot goes on" in cancelled.out
    assert "Traceback" not in cancelled.out + cancelled.err
    live.ticks_on()
    # In a probation, cancelling is a rollback.
    second = live.start("deploy", live.code("v2", STEADY, probation="30s"), "--json")
    live.phase(2, "probation")
    second.interrupt()
    back = second.ends()
    assert back.code == 4, back
    live.ticks_on()
    assert live.status()["worker"] == "w1"
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    unbroken(live.printed("tick"), report)


def test_no_wait_returns_a_deployment_number_that_history_accepts(live: Live) -> None:
    live.up(live.code("v0", STEADY))
    begun = live.run("deploy", live.code("v1", STEADY), "--no-wait", "-m", "a reason", "--json")
    assert begun.code == 0, begun
    number = begun.json["deployment"]
    assert live.ended(number)["outcome"] == "done"
    answer = live.run("history", str(number), "--json")
    assert answer.code == 0, answer
    assert answer.json["outcome"] == "done"
    assert answer.json["why"] == "a reason"


def test_a_dry_run_rehearses_on_the_live_state_without_a_handoff(live: Live) -> None:
    live.up(live.code("v0", STEADY))
    before = live.status()
    rehearsed = live.run("deploy", live.code("v1", STEADY), "--dry-run", "--json")
    assert rehearsed.code == 0, rehearsed
    assert rehearsed.json["outcome"] == "rehearsed"
    assert rehearsed.json["rollback"] == "newest"
    assert rehearsed.json["release"] == before["release"]
    grown = bot(state="limit: int\nticks: int = 0")
    unreadable = live.run("deploy", live.code("v2", grown), "--dry-run", "--json")
    assert unreadable.code == 3, unreadable
    assert "limit" in unreadable.json["reason"]
    live.ticks_on()
    after = live.status()
    assert (after["worker"], after["epoch"]) == (before["worker"], before["epoch"])
    live.down()
    assert live.audit()["handoffs"] == []


def _spawned(live: Live) -> int:
    """Wait until a deployment has started its worker; return its number."""
    return live.event(type="step", step="spawned")["deployment"]
