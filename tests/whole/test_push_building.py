"""Pushes that need something built or checked: what it costs the live bot, and what a pusher reads when it fails."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest

from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import read_journal
from neverblink.supervisor.audit.scope import Moment

from ..processes import wait_for_end
from .bots import bot
from .live import Live, unbroken, written
from .pushing import HANDED, Pushing
from .wheels import LIBRARY, needs

HANGS = """
import os, pathlib, time
def build_wheel(directory, settings=None, metadata=None):
    pathlib.Path("BACKEND").write_text(str(os.getpid()))
    time.sleep(1000)
def prepare_metadata_for_build_wheel(directory, settings=None):
    return build_wheel(directory)
"""


@pytest.mark.deep
def test_a_push_with_another_version_of_a_library_misses_no_tick(
    live: Live, say: Callable[[str], None]
) -> None:
    code = live.code("fox", LIBRARY)
    needs(live, code, "prices==1.0")
    live.up(code)
    pushing = Pushing(live)
    pushing.commit(code, "Begin")
    assert HANDED.search(pushing.push().err)
    needs(live, pushing.work, "prices==2.0")
    pushing.change("Newer prices")
    pushed = pushing.push()
    assert "-----> building environment" in pushed.err
    assert "+ prices==2.0" in pushed.err
    handed = HANDED.search(pushed.err)
    assert handed, pushed
    assert handed[2] == "0"
    live.prints("prices", lambda lines: lines[-1] == "2.0")
    entered = {note["phase"]: note["at"] for note in live.run("history", "2", "--json").json["phases"]}
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    unbroken(live.printed("tick"), report)
    built = audit(
        read_journal(live.home / "journal"),
        since=Moment(entered["building"]),
        until=Moment(entered["preparing"]),
    )
    assert built.ticks, "the build was over between two ticks"
    say(
        f"a push that builds an environment, at 100 Hz: {built.ticks} ticks while it was built, {built.missed} missed, "
        f"the worst {built.late_us / 1000:.2f} ms late; {report['late_us'] / 1000:.2f} ms in the whole run"
    )


@pytest.mark.deep
@pytest.mark.parametrize("gate", [False, True], ids=["after the push", "behind a gate"])
def test_a_push_of_code_that_cannot_run_reports_why_and_the_old_code_keeps_ticking(
    gate: bool, live: Live
) -> None:
    code = live.code("fox", LIBRARY)
    needs(live, code, "prices==1.0")
    live.up(code)
    before = live.status()["release"]
    pushing = Pushing(live, *(["--gate"] if gate else []))
    first = pushing.commit(code, "Begin")
    pushing.git("push", "--quiet", str(pushing.bare), "main:refs/heads/elsewhere")
    pushing.git("--git-dir", str(pushing.bare), "update-ref", "refs/heads/main", first)

    def refused(commit: str, *words: str) -> None:
        pushed = pushing.push()
        assert pushed.code == (1 if gate else 0), pushed
        banner = "error: REFUSED: main stays where it was" if gate else "error: NOT DEPLOYED"
        output = " ".join(pushed.err.split())
        assert [
            word
            for word in (banner, f"{before} leads; the bot was not interrupted", *words)
            if word not in output
        ] == []
        assert pushing.tip() == (first if gate else commit)

    (pushing.work / "bot.py").write_text("def\n")
    refused(pushing.change("A syntax error"), "SyntaxError")
    (pushing.work / "bot.py").write_text(bot(state="limit: int\nticks: int = 0"))
    refused(pushing.change("A state that can't be read"), "limit")
    (pushing.work / "bot.py").write_text(LIBRARY)
    needs(live, pushing.work, "prices==3.0")
    refused(pushing.change("A missing version"), "there is no version of prices==3.0")
    needs(live, pushing.work, "prices==1.0", check="python -c 'raise SystemExit(\"no exits\")'")
    refused(pushing.change("A check that fails"), "failed (exit 1): no exits")
    live.ticks_on()
    assert live.status()["release"] == before
    assert [row["outcome"] for row in live.ask("history")["deployments"]] == ["aborted"] * 4
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report


@pytest.mark.deep
def test_killing_uv_aborts_the_deployment_and_leaves_no_process_or_file(live: Live) -> None:
    code = live.code("fox", LIBRARY)
    needs(live, code, "prices==1.0")
    live.up(code)
    before = live.status()["release"]
    pushing = Pushing(live)
    slow, backend = pushing.work / "slow", live.tmp / "backend.pid"
    slow.mkdir()
    (slow / "pyproject.toml").write_text(
        '[project]\nname = "slow"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (slow / "backend.py").write_text(HANGS.replace("BACKEND", str(backend)))
    needs(live, code, "prices==1.0\n./slow")
    pushing.commit(code, "Something to build")
    push = pushing.start("live", "main")
    building = int(written(backend))
    os.kill(json.loads((live.home / "environments" / ".running").read_bytes())["pid"], signal.SIGKILL)
    output = push.ends().err
    assert "error: NOT DEPLOYED" in output
    assert "uv was killed by SIGKILL" in output
    assert f"{before} leads; the bot was not interrupted." in output
    wait_for_end(building)
    left = {entry.name for entry in (live.home / "environments").iterdir() if entry.name.startswith(".")}
    assert left <= {".of", ".wheels"}
    live.ticks_on()
    live.down()
    assert live.audit()["missed"] == 0
