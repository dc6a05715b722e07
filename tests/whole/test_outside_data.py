"""What comes from outside is data: no value, no text and no encoding of it stops a command, or reaches a terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from ..processes import wait_for_end
from .bots import bot
from .live import NEVERBLINK, WITHIN, Live, one_line
from .pushing import HANDED, Pushing
from .terminal import Terminal

HALTS = bot(
    """
    def on_tick(self, tick):
        self.state.ticks += 1

    def on_halt(self):
        self.state.halted += 1
    """,
    state="ticks: int = 0\nhalted: int = 0",
)
POISON = b"caf\xe9 \x1b]0;owned\x07\x1b[2J\rsafe \xc2\x9b31m \xe2\x80\xae\xe2\x80\x8b end"
"""A commit's subject in Latin-1, with terminal controls, a bidirectional control and a zero-width character."""
OURS = re.compile(r"\x1b\[[0-9;]*m|\r\x1b\[2K|\r+\n|\x1b\[\?(25|1049)[hl]|\x1b\[H|\r$")
"""Colours, and the cursor moves of a live line."""


def controls(raw: str) -> list[str]:
    """The control characters in a terminal's input other than our own."""
    raw = OURS.sub("", raw)
    return [
        f"{sign!r} in {raw[max(0, at - 30) : at + 30]!r}"
        for at, sign in enumerate(raw)
        if sign not in "\n\t" and unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]


def asked(live: Live, request: bytes) -> dict[str, Any]:
    """The answer to a request of these bytes, in JSON or msgpack."""
    with zmq.Context[zmq.Socket[bytes]]() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(live.endpoint("requests"))
        socket.send(request)
        assert socket.poll(int(WITHIN * 1000)), f"no answer to {request[:80]!r}"
        answer = socket.recv()
    return (msgspec.json if answer[:1] == b"{" else msgspec.msgpack).decode(answer)


def test_a_value_that_a_worker_cannot_decode_is_refused_and_blocks_nothing(live: Live) -> None:
    code = live.code("v1", HALTS)
    live.up(code)
    bad = [
        b'{"id": "1", "op": "send", "name": "size", "args": {"n": 18446744073709551616}}',
        b'{"id": "2", "op": "send", "name": "size", "args": {"n": [[-9223372036854775809]]}}',
        b'{"id": "3", "op": "settings", "set": {"n": 99999999999999999999999}}',
        b'{"id": "4", "op": "settings", "set": {"n": 1, "n": 2}}',
        b'{"id": "5", "op": "send", "name": "size", "args": {"n": ' + b"[" * 500 + b"]" * 500 + b"}}",
        msgspec.msgpack.encode({"id": "6", "op": "send", "name": "size", "args": {"n": float("nan")}}),
        msgspec.msgpack.encode({"id": "7", "op": "settings", "set": {"n": float("inf")}}),
        msgspec.msgpack.encode({"id": "8", "op": "send", "name": "size", "args": {"n": {(1, 2): 3}}}),
        b'{"id": "9", "op": "deploy", "path": "/nowhere\\u0000"}',
    ]
    for request in bad:
        answer = asked(live, request)
        assert answer["status"] == "error", answer
        assert answer["error"]["code"] in ("bad-input", "bad-request"), answer
    ended = live.run("send", "size", "n=18446744073709551616")
    assert ended.code == 2
    assert "64 bits" in one_line(ended)
    entries = [
        {"id": "c1", "op": "send", "name": "size", "args": {"n": 2**64}},
        {"id": "c2", "op": "pause"},
    ]
    (live.home / "control.new").write_text(json.dumps(entries))
    (live.home / "control.new").rename(live.home / "control.json")
    until = time.monotonic() + WITHIN
    while len(answers := answers_of(live)) < 2:
        assert time.monotonic() < until, answers
        time.sleep(0.02)
    assert answers["c1"]["error"]["code"] == "bad-input"
    assert answers["c2"]["status"] == "ok"
    live.deploy(code)
    assert live.ask("halt", confirm="fox")["halted"]
    assert live.book()["halted"] == 1
    log = (live.home / "logs" / "supervisor.log").read_text()
    assert "failed" not in log, log
    live.down()


def answers_of(live: Live) -> dict[str, Any]:
    try:
        status = json.loads((live.home / "status.json").read_bytes())
    except FileNotFoundError:
        return {}
    return {answer["id"]: answer for answer in status["control"]["answers"]}


@pytest.fixture
def poisoned(live: Live) -> Pushing:
    """A repository whose newest commit has a poisoned subject, author and file name."""
    code = live.code(
        "v1",
        bot("def on_tick(self, tick):\n    self.state.ticks += 1\n    say('caf\\x1b[2J\\x9b31m\\r\\u202e')"),
    )
    live.up(code)
    pushing = Pushing(live)
    pushing.commit(code, "first")
    assert HANDED.search(pushing.push().err)
    (pushing.work / os.fsdecode(b"caf\xe9\x1b[2J.txt")).write_text("")
    pushing.git("add", "--all")
    # `git commit` corrects what is not UTF-8; other programs write commits too.
    lines = (
        f"tree {pushing.git('write-tree')}\nparent {pushing.git('rev-parse', 'HEAD')}\n".encode(),
        b"author Ren\xe9 \x1b[31m <r@example.org> 1700000000 +0000\n",
        b"committer Ren\xe9 <r@example.org> 1700000000 +0000\n\n",
        POISON,
    )
    made = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"],
        cwd=pushing.work,
        input=b"".join(lines),
        capture_output=True,
        check=True,
    )
    pushing.git("reset", "--quiet", "--hard", made.stdout.decode().strip())
    return pushing


@pytest.mark.deep
def test_control_characters_in_a_commit_break_no_command_and_reach_no_terminal(
    live: Live, poisoned: Pushing
) -> None:
    pushed = poisoned.push("live", "main", "-o", "message=caf\udce9 \x1b[2J")
    assert HANDED.search(pushed.err), pushed.err
    assert "\\xe9" in pushed.err
    hook = re.sub(r"\x1b\[K|\x1b\[[0-9;]*m", "", pushed.err)
    assert not controls(hook), controls(hook)
    for argv in (
        ("status",),
        ("top", "--once"),
        ("history",),
        ("history", "2"),
        ("history", "--commands"),
        ("releases",),
        ("logs", "-n", "20"),
        ("audit",),
        ("diff", "HEAD", "--project", poisoned.work),
        ("hook", "status", poisoned.bare),
        ("settings",),
        ("deploy", "nowhere-\x1b[2J\u202e"),
        ("pause", "-m", os.fsdecode(b"caf\xe9 \x1b[2J")),
        ("history", "--commands"),
    ):
        terminal = Terminal(*argv, where=poisoned.work, environment=live.environment)
        code = terminal.ends()
        raw = terminal.raw
        terminal.close()
        assert "Traceback" not in raw, raw
        assert "unexpected" not in raw, raw
        assert code == (2 if argv[0] == "deploy" else code and 1), (argv, code, raw)
        assert not controls(raw), (argv, controls(raw))
    for argv in ("status", "history", "releases", "logs", "top"):
        ended = live.run(argv, "--json")
        assert not controls(ended.out), argv
        assert ended.json
    json.loads((live.home / "status.json").read_bytes())
    live.down()


@pytest.mark.deep
def test_a_branch_name_in_latin_1_does_not_prevent_the_deployment_of_main(
    live: Live, poisoned: Pushing
) -> None:
    branch = os.fsdecode(b"refs/heads/caf\xe9")
    pushed = poisoned.push("live", "HEAD:refs/heads/main", f"HEAD:{branch}")
    assert HANDED.search(pushed.err), pushed.err
    assert "branch caf\\xe9: deploys nothing" in pushed.err
    live.down()


def test_the_output_of_up_has_no_control_characters_from_outside(live: Live, tmp_path: Path) -> None:
    code = live.code("v1", HALTS)
    terminal = Terminal("up", "--project", code, where=tmp_path, environment=live.environment)
    terminal.shows("up: Ctrl-C stops the bot")
    live.listen()
    live.ask("pause", why="\u001b[2J \u202e caf", who="\u001b]0;owned\u0007")
    drawn = terminal.raw + terminal.shows("pause by")
    assert live.ask("down")["stopped"]
    terminal.ends()
    assert not controls(drawn + terminal.raw)
    terminal.close()


def test_a_history_locked_by_another_process_blocks_no_command_and_loses_no_entry(live: Live) -> None:
    live.up(live.code("v1", HALTS))
    with closing(sqlite3.connect(live.home / "supervisor.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        for op, how in (("pause", {}), ("resume", {}), ("lock", {"why": "freeze"})):
            begun = time.monotonic()
            live.ask(op, **how)
            assert time.monotonic() - begun < 4
        assert live.ask("history", commands=True)["commands"] == []
        assert live.status()["lock"]["why"] == "freeze"
        other.execute("rollback")
    until = time.monotonic() + WITHIN
    while len(rows := live.ask("history", commands=True)["commands"]) < 3:
        assert time.monotonic() < until, rows
        time.sleep(0.05)
    assert [row["op"] for row in rows] == ["lock", "resume", "pause"]
    live.down()
    log = (live.home / "logs" / "supervisor.log").read_text()
    assert "kept in memory" in log
    assert "the history is written again" in log


@pytest.mark.deep
def test_a_push_reports_correctly_whether_the_bot_runs(live: Live) -> None:
    code = live.code("v1", HALTS)
    up = live.up(code)
    pushing = Pushing(live)
    pushing.commit(code, "first")
    live.ask("lock", why="freeze")
    assert "but the bot runs the code it ran before" in pushing.push().err
    up.kill()
    up.ends()
    pushing.change("second")
    assert "but the bot runs the code it ran before, without a supervisor" in pushing.push().err
    for process in live.processes():
        process.kill()
        wait_for_end(process.pid)
    pushing.change("third")
    refused = pushing.push().err
    assert "NOT DEPLOYED: the push arrived, but the bot does not run" in refused
    pushing.install("--gate")
    pushing.change("fourth")
    gated = pushing.push()
    assert "REFUSED: nothing was changed, and the bot does not run" in gated.err


def test_a_bot_in_a_src_layout_can_be_checked_deployed_and_run(live: Live) -> None:
    code = live.code("v1", HALTS)
    package = code / "src" / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (code / "bot.py").rename(package / "bot.py")
    (code / "neverblink.toml").write_text(
        (code / "neverblink.toml").read_text().replace("bot:Bot", "pkg.bot:Bot")
    )
    checked = live.run("check", "--project", code)
    assert checked.code == 0, checked
    live.up(code)
    live.deploy(code)
    live.ticks_on()
    live.down()


NAMELESS = ("unshare", "--user", "--map-user=54321")
"""Runs a program as a user whom no password file knows; its files are ours."""
NO_INPUT = ("/bin/sh", "-c", 'exec "$@" <&-', "sh")
NO_STREAMS = ("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")


@pytest.mark.deep
def test_a_user_without_a_name_or_a_home_directory_can_use_all_commands(live: Live) -> None:
    if shutil.which("unshare") is None or subprocess.run([*NAMELESS, "true"], check=False).returncode:
        pytest.skip("no user namespace can be made here")
    code = live.code("v1", HALTS)
    names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    environment = {key: value for key, value in live.environment.items() if key not in names}

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [*NAMELESS, *NO_INPUT, *NEVERBLINK, *argv]
        return subprocess.run(
            command, cwd=code, env=environment, capture_output=True, text=True, timeout=WITHIN, check=False
        )

    up = subprocess.Popen([*NAMELESS, *NO_STREAMS, *NEVERBLINK, "up"], cwd=code, env=environment)
    try:
        until = time.monotonic() + WITHIN
        while (asked := run("status")).returncode:
            assert "Traceback" not in asked.stderr, asked
            assert time.monotonic() < until, asked
            assert up.poll() is None
            time.sleep(0.1)
        for argv in (
            ("systemd",),
            ("deploy", "~/nowhere"),
            ("down",),
        ):
            done = run(*argv)
            output = done.stdout + done.stderr
            assert "Traceback" not in output, (argv, output)
            assert "unexpected" not in output, (argv, output)
            assert done.returncode == (2 if "~" in argv[-1] else 0), (argv, output)
        assert up.wait(WITHIN) == 0
    finally:
        up.kill()
        up.wait()
