"""`git push live main`, with real git: what the user sees, and what the bot does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ..processes import wait_for_end
from .bots import COUNTER, bot, waits
from .live import Live, written
from .pushing import HANDED, Pushing


def test_a_push_deploys_and_reports_the_tick_at_which_the_new_code_took_over(live: Live) -> None:
    code = live.code("v0", COUNTER)
    live.up(code)
    pushing = Pushing(live)
    first = pushing.commit(code, "Begin")
    pushed = pushing.push()
    assert pushed.code == 0, pushed
    handed = HANDED.search(pushed.err)
    assert handed, pushed.err
    ended = live.ended(1)
    assert (ended["outcome"], ended["seq"], ended["missed"]) == ("done", int(handed[1]), int(handed[2]))
    assert f"({first[:8]} Begin)" in pushed.err
    assert pushed.err.index("rehearsing") < pushed.err.index("waiting for a boundary") < handed.start()
    # What was pushed runs, and it is told apart by who and why. What git only points at is not there, and is named.
    (pushing.work / "libs" / "prices").mkdir(parents=True)
    pushing.git("update-index", "--add", "--cacheinfo", f"160000,{first},libs/prices")
    second = pushing.change("Earlier exits")
    pushed = pushing.push("-o", "message=they were late", "live", "main")
    assert HANDED.search(pushed.err)
    assert " !     warning: libs/prices is a submodule" in pushed.err
    history = live.run("history", "2", "--json").json
    assert (history["commit"], history["subject"], history["ref"]) == (second, "Earlier exits", "main")
    assert history["why"] == "they were late"
    assert live.status()["release"].endswith(second[:8])
    live.down()
    report = live.audit()
    assert report["doubled"] == 0, report
    assert report["handoffs_total"] == 2
    # The machine comes up again: what was pushed goes on, and not what lies in the project.
    live.up(code)
    assert live.status()["release"].endswith(second[:8])
    live.down()


def test_a_new_user_has_a_bot_that_deploys_by_git_push_in_three_commands(
    live: Live, say: Callable[[str], None]
) -> None:
    pushing = Pushing(live)
    place = live.tmp / "fox"
    took: dict[str, float] = {}
    since = time.monotonic()

    def done(step: str) -> None:
        nonlocal since
        took[step], since = time.monotonic() - since, time.monotonic()

    begun = live.run("init", "--git", place, "--json")
    done("init --git")
    assert begun.code == 0, begun
    bare = live.home / "live.git"
    assert begun.json["repository"] == str(bare)
    assert f":{place} fox && cd fox" in begun.err, "three lines for a laptop"
    pushing.work = place
    assert pushing.git("log", "--format=%s") == "Begin fox"
    assert pushing.git("status", "--porcelain") == ""
    since = time.monotonic()
    live.up(place)
    done("up")
    # Whatever the minute is: the starter has a window near its end.
    first = pushing.push("-o", "force", "live", "main")
    done("push")
    assert HANDED.search(first.err), first.err
    pushing.change("An edit")
    since = time.monotonic()
    second = pushing.push("-o", "force", "live", "main")
    done("edit and push, with 2 s of probation")
    handed = HANDED.search(second.err)
    assert handed, second.err
    assert handed[2] == "0"
    say("a new user: " + ", ".join(f"{step} {seconds:.1f} s" for step, seconds in took.items()))
    again = live.run("init", "--git", place / "deeper")
    assert again.code == 2
    assert "is in the git repository" in again.err
    live.down()
    assert live.audit()["doubled"] == 0


@pytest.mark.deep
def test_only_the_chosen_branch_deploys_and_a_push_of_anything_else_reports_why_not(live: Live) -> None:
    code = live.code("v0", COUNTER)
    live.up(code)
    pushing = Pushing(live, "--branch", "trunk")
    pushing.commit(code, "Begin")
    assert "branch main: deploys nothing, only branch trunk does" in pushing.push().err
    pushing.git("tag", "v1")
    several = pushing.push("-o", "no-wait", "live", "main:trunk", "main:feature", "v1")
    assert several.code == 0, several
    assert "branch feature: deploys nothing" in several.err
    assert "tag v1: tags deploy nothing" in several.err
    assert "deployment 1 goes on by itself" in several.err
    assert live.ended(1)["outcome"] == "done"
    assert "branch feature was deleted" in pushing.push("live", ":feature").err
    # Back to nothing, and to other commits than before.
    pushing.git("--git-dir", str(pushing.bare), "config", "receive.denyDeleteCurrent", "ignore")
    gone = pushing.push("live", ":trunk")
    assert "the bot goes on with the code it runs" in gone.err, gone
    pushing.push("-o", "nowait", "live", "main:trunk")
    pushing.git("commit", "--quiet", "--amend", "--message", "Begin again")
    forced = pushing.push("-o", "forse", "--force", "live", "main:trunk")
    assert 'no push option "forse": did you mean -o force?' in forced.err
    assert HANDED.search(forced.err), forced
    assert [row["outcome"] for row in live.run("history", "--json").json["deployments"]] == ["done"] * 3
    live.down()
    assert live.audit()["doubled"] == 0


def test_a_failed_deployment_after_a_push_shows_a_banner_and_the_old_code_keeps_ticking(live: Live) -> None:
    code = live.code("v0", COUNTER)
    pushing = Pushing(live)
    pushing.commit(code, "Begin")
    off = pushing.push()
    assert "error: NOT DEPLOYED" in off.err
    assert "start the bot with `neverblink up`" in off.err
    live.up(code)
    before = live.status()["release"]
    crash = bot('def on_lead(self, in_doubt):\n    raise ValueError("sold twice")')
    pushing.commit(live.code("crash", crash), "Crash")
    crashed = pushing.push()
    assert "sold twice" in crashed.err
    assert f"{before} leads" in crashed.err
    assert "error: ROLLED BACK" in crashed.err or "error: NOT DEPLOYED" in crashed.err
    (pushing.work / "model.bin").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    )
    pushing.commit(code, "A pointer without its file")
    assert "model.bin: only a pointer of Git LFS is here" in pushing.push().err
    pushing.git("rm", "--quiet", "model.bin")
    live.ask("lock", why="release freeze")
    pushing.commit(code, "Mended")
    locked = pushing.push()
    assert "release freeze" in locked.err
    live.ask("unlock")
    live.ticks_on()
    assert live.status()["release"] == before
    live.down()
    assert live.audit()["doubled"] == 0


@pytest.mark.deep
def test_a_gate_refuses_code_that_cannot_run_and_deploys_the_worker_it_rehearsed(live: Live) -> None:
    code = live.code("v0", COUNTER)
    checked = live.tmp / "checked"
    check = f"sh -c 'echo checked >> {checked}'"
    config = code / "neverblink.toml"
    config.write_text(f'{config.read_text()}[deploy]\ncheck = "{check}"\n')
    pushing = Pushing(live, "--gate")
    first = pushing.commit(code, "Begin")
    off = pushing.push()
    assert off.code != 0
    assert "error: REFUSED" in off.err
    live.up(code)
    # Several refs in one push: one is rehearsed, and all of them arrive.
    pushing.git("tag", "v1")
    well = pushing.push("live", "main", "main:feature", "v1")
    assert well.code == 0, well
    assert "branch feature: deploys nothing" in well.err
    assert "tag v1: tags deploy nothing" in well.err
    assert pushing.tip("feature") == first
    assert "rehearsed: this code can take over" in well.err
    assert HANDED.search(well.err), well
    assert pushing.tip() == first
    assert "not run again, it succeeded in this release" in well.err
    assert checked.read_text().count("checked") == 1
    # The handoff goes to the worker that was rehearsed, without a new one.
    rows = live.run("history", "--json").json["deployments"]
    assert [(row["id"], row["outcome"], row["dry_run"]) for row in rows] == [(1, "done", False)]
    # The whole of it stands under the one number.
    phases = [phase["phase"] for phase in live.run("history", "1", "--json").json["phases"]]
    assert phases.count("rehearsing") == 2, phases
    assert phases[-1] == "done"
    pushing.commit(live.code("broken", "def\n"), "Broken")
    refused = pushing.push()
    assert refused.code != 0
    assert "error: REFUSED: main stays where it was" in refused.err
    assert "SyntaxError" in refused.err
    assert pushing.tip() == first
    misspelt = pushing.push("-o", "now", "live", "main:other", "main")
    assert 'no push option "now"' in misspelt.err
    assert (pushing.tip(), pushing.tip("other")) == (first, "")
    # The gate is for the branch that deploys, and a deletion has nothing that could run.
    assert pushing.push("live", "main:other").code == 0
    pushing.git("--git-dir", str(pushing.bare), "config", "receive.denyDeleteCurrent", "ignore")
    pushing.git("reset", "--quiet", "--hard", first)
    pushing.git("commit", "--quiet", "--amend", "--message", "Begin again")
    assert HANDED.search(pushing.push("--force", "live", "main").err)
    gone = pushing.push("live", ":main")
    assert (gone.code, pushing.tip()) == (0, ""), gone
    assert "the bot goes on with the code it runs" in gone.err
    live.down()
    assert live.audit()["doubled"] == 0


def test_a_push_waits_for_the_deployment_before_it_and_the_newest_is_deployed(live: Live) -> None:
    code = live.code("v0", COUNTER)
    gate = live.tmp / "gate"
    live.up(code)
    pushing = Pushing(live)
    pushing.commit(live.code("slow", waits("on_start", gate)), "Slow")
    first = pushing.start("live", "main")
    live.event(type="step", step="spawned")
    pushing.commit(code, "Second")
    second = pushing.start("live", "main")
    second.prints("waiting for the end of deployment 1")
    newest = pushing.change("Third")
    third = pushing.start("live", "main")
    third.prints("waiting for the end of deployment 1")
    assert "is deployed in its place" in second.ends().err
    # A waiting push has a number already, and is in the history with its outcome.
    waiting = [(item["deployment"], item["commit"]) for item in live.status()["waiting"]]
    assert waiting == [(3, newest)]
    row = live.ask("history", deployment=2)
    assert (row["outcome"], row["subject"]) == ("aborted", "Second")
    assert "is deployed in its place" in row["reason"]
    gate.touch()
    assert HANDED.search(first.ends().err)
    assert HANDED.search(third.ends().err)
    assert live.status()["release"].endswith(newest[:8])
    # A push in a probation lets it come to its end, and then takes its turn.
    pushing.commit(live.code("long", COUNTER, probation="1s"), "Long")
    long = pushing.start("live", "main")
    live.phase(4, "probation")
    pushing.change("Next")
    assert HANDED.search(pushing.push().err)
    assert HANDED.search(long.ends().err)
    live.down()
    report = live.audit()
    assert report["doubled"] == 0, report


@pytest.mark.deep
def test_a_waiting_push_can_be_cancelled_by_its_number(live: Live) -> None:
    code = live.code("v0", COUNTER)
    gate = live.tmp / "gate"
    live.up(code)
    pushing = Pushing(live)
    slow = pushing.commit(live.code("slow", waits("on_start", gate)), "Slow")
    first = pushing.start("live", "main")
    live.event(type="step", step="spawned")
    waits_on = pushing.commit(code, "Waits")
    second = pushing.start("live", "main")
    second.prints("waiting for the end of deployment 1")
    none = live.answer(live.send("abort", deployment=9))
    assert none["error"]["code"] == "not-found"
    assert live.run("abort", "2", "-m", "not today").code == 0
    output = second.ends().err
    assert "NOT DEPLOYED" in output
    assert ": not today" in output
    gate.touch()
    assert HANDED.search(first.ends().err)
    assert live.status()["release"].endswith(slow[:8])
    history = live.ask("history")["deployments"]
    assert [(row["id"], row["outcome"], row["commit"]) for row in history] == [
        (2, "aborted", waits_on),
        (1, "done", slow),
    ]
    live.down()
    assert live.audit()["doubled"] == 0


def test_neither_a_killed_pusher_nor_a_killed_hook_cancels_the_deployment(live: Live) -> None:
    code = live.code("v0", COUNTER)
    live.up(code)
    pushing = Pushing(live)
    for number, end in enumerate((_end_pusher, _end_hook, _hang_up), start=1):
        gate = live.tmp / f"gate{number}"
        pushing.commit(live.code(f"v{number}", waits("on_start", gate)), f"Push {number}")
        push = pushing.start("live", "main")
        live.event(type="step", step="spawned", deployment=number)
        push.prints("starting the new worker")
        hook = _hook_of(pushing.bare)
        end(push.pid, hook)
        push.ends()
        gate.touch()
        assert live.ended(number)["outcome"] == "done", live.story()
        wait_for_end(hook.pid)
    live.down()
    assert live.audit()["doubled"] == 0


@pytest.mark.deep
def test_a_pushed_but_undeployed_commit_is_reported_and_one_command_deploys_it(live: Live) -> None:
    code = live.code("v0", COUNTER)
    up = live.up(code)
    pushing = Pushing(live)
    pushing.commit(code, "Begin")
    assert HANDED.search(pushing.push().err)
    deploy = f"neverblink hook deploy {pushing.bare}"
    # A push under a lock arrives, and git would not call the hook for it again.
    live.ask("lock", why="release freeze")
    locked = pushing.change("Under a lock")
    assert deploy in pushing.push().err
    assert pushing.push().err.strip() == "Everything up-to-date"
    up.prints(f"main of {pushing.bare} is 1 commit ahead of the running commit ({locked[:8]} Under a lock)")
    seen = live.status()["branches"]
    assert [(event["commit"], event["ahead"], event["behind"], event["deployment"]) for event in seen] == [
        (locked, 1, 0, 0)
    ]
    assert deploy in live.run("status").out
    live.ask("unlock")
    deployed = live.run("hook", "deploy", pushing.bare, "-m", "the freeze is over", "--json")
    assert (deployed.code, deployed.json["outcome"]) == (0, "done"), deployed
    row = live.run("history", "2", "--json").json
    assert (row["commit"], row["ref"], row["why"]) == (locked, "main", "the freeze is over")
    seen = live.status()["branches"]
    assert [(event["ahead"], event["deployment"], event["outcome"]) for event in seen] == [(0, 2, "done")]
    # So does one that arrived while the bot was down, and the next `up` says so.
    live.down()
    off = pushing.change("While it is down")
    assert deploy in pushing.push().err
    assert (
        f"is 1 commit ahead of the running commit ({off[:8]}" in live.run("hook", "status", pushing.bare).out
    )
    live.up(code).prints(f"is 1 commit ahead of the running commit ({off[:8]} While it is down)")
    assert live.status()["release"].endswith(locked[:8])
    live.down()
    assert live.audit()["doubled"] == 0


@pytest.mark.deep
def test_a_hook_killed_before_its_request_is_noticed(live: Live) -> None:
    code = live.code("v0", COUNTER)
    up = live.up(code)
    pushing = Pushing(live)
    pushing.commit(code, "Begin")
    assert HANDED.search(pushing.push().err)
    pid = live.tmp / "pid"
    slow = live.tmp / "slow-python"
    slow.write_text(f"#!/bin/sh\necho $$ $PPID > {pid}.new && mv {pid}.new {pid}\nexec sleep 1000\n")
    slow.chmod(0o755)
    pushing.git("--git-dir", str(pushing.bare), "config", "neverblink.python", str(slow))
    commits: list[str] = []
    for number, victims in enumerate(((0,), (1, 0))):
        pid.unlink(missing_ok=True)
        commit = pushing.change(f"Killed {number}")
        commits.append(commit)
        push = pushing.start("live", "main")
        found = written(pid).split()
        for victim in victims:
            os.kill(int(found[victim]), signal.SIGKILL)
        ended = push.ends()
        # The script that is left can say it; when that is gone too, git still reports no failure.
        assert ("THE HOOK WAS KILLED (signal 9)" in ended.err) == (victims == (0,)), ended
        assert pushing.tip() == commit
    up.prints(f"({commits[-1][:8]} Killed 1): deploy it with `neverblink hook deploy {pushing.bare}`")
    pushing.install()
    assert live.run("hook", "deploy", pushing.bare).code == 0
    assert live.status()["release"].endswith(commits[-1][:8])
    live.down()
    assert live.audit()["doubled"] == 0


def test_an_existing_hook_runs_first_with_the_same_input_and_may_refuse(live: Live) -> None:
    code = live.code("v0", COUNTER)
    live.up(code)
    pushing = Pushing(live)
    live.run("hook", "remove", pushing.bare)
    for name in ("pre-receive", "post-receive"):
        hook = pushing.bare / "hooks" / name
        hook.write_text(
            f"#!/bin/sh\ncat > {live.tmp}/{name}.seen\n! grep -q refs/heads/no {live.tmp}/{name}.seen\n"
        )
        hook.chmod(0o755)
    pushing.install("--gate")
    commit = pushing.commit(code, "Begin")
    assert HANDED.search(pushing.push().err)
    line = f"{'0' * 40} {commit} refs/heads/main\n"
    assert {(live.tmp / f"{name}.seen").read_text() for name in ("pre-receive", "post-receive")} == {line}
    pushing.change("Next")
    refused = pushing.push("live", "main", "main:no")
    assert refused.code != 0
    assert "deployment" not in refused.err
    assert pushing.tip() == commit


def test_a_missing_neverblink_shows_a_banner_and_with_a_gate_refuses_the_push(live: Live) -> None:
    pushing = Pushing(live)
    pushing.commit(live.code("v0", COUNTER), "Begin")
    pushing.git("--git-dir", str(pushing.bare), "config", "neverblink.python", str(live.tmp / "gone"))
    gone = pushing.push()
    assert gone.code == 0
    assert "error: NOT DEPLOYED" in gone.err
    assert f"is gone: {live.tmp}/gone" in gone.err
    # One in another user's private directory exists, but this user may not run it.
    (live.tmp / "gone").write_text("")
    pushing.change("Not mine")
    assert "may not run the neverblink that installed this hook" in pushing.push().err
    (live.tmp / "gone").unlink()
    pushing.install("--gate")
    pushing.git("--git-dir", str(pushing.bare), "config", "neverblink.python", str(live.tmp / "gone"))
    pushing.change("Next")
    refused = pushing.push()
    assert refused.code != 0
    assert "error: REFUSED" in refused.err


def _hook_of(bare: Path) -> psutil.Process:
    """The hook's own process, which watches the deployment."""
    for process in psutil.process_iter():
        try:
            if "neverblink.supervisor.hook" in process.cmdline() and Path(process.cwd()) == bare:
                return process
        except (psutil.Error, OSError):
            continue
    raise AssertionError("no hook runs")


def _end_pusher(pusher: int, hook: psutil.Process) -> None:
    os.killpg(pusher, signal.SIGKILL)


def _end_hook(pusher: int, hook: psutil.Process) -> None:
    hook.kill()


def _hang_up(pusher: int, hook: psutil.Process) -> None:
    os.killpg(pusher, signal.SIGHUP)
