"""Bad input of every kind: one line that names the remedy, the right exit code, and the live bot keeps ticking."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import zmq

from ..matrix import cases
from ..processes import wait_for_end
from .bots import COUNT, COUNTER, STEADY, bot, loop
from .live import Live, one_line, unbroken

ABORTED, BAD_INPUT, BUSY, DOWN, ROLLED_BACK = 3, 2, 5, 8, 4


class BadCode(NamedTuple):
    """New code that is invalid, the exit code of `deploy`, and what its message contains."""

    exit: int
    says: tuple[str, ...]
    source: str
    target: str = "Bot"
    toml: str = ""
    """Instead of the usual configuration."""


BAD = {
    "a typo in the configuration": BadCode(
        BAD_INPUT, ("probaton", "probation"), COUNTER, toml='bot = "bot:Bot"\n[handoff]\nprobaton = "1s"\n'
    ),
    "a duration that is none": BadCode(
        BAD_INPUT,
        ("handoff.probation", "soon"),
        COUNTER,
        toml='bot = "bot:Bot"\n[handoff]\nprobation = "soon"\n',
    ),
    "no bot named": BadCode(BAD_INPUT, ("bot", "MODULE:NAME"), COUNTER, toml='name = "fox"\n'),
    "a module that is not there": BadCode(
        BAD_INPUT, ("bto",), COUNTER, toml='name = "fox"\nbot = "bto:Bot"\n'
    ),
    "a name that is not there": BadCode(ABORTED, ("has no Bott", "did you mean Bot?"), COUNTER, "Bott"),
    "an attribute that is not a Worker": BadCode(
        ABORTED,
        ("Book is the class Book", "expected a subclass of neverblink.worker.Worker"),
        COUNTER,
        "Book",
    ),
    "a state that can't be encoded": BadCode(
        ABORTED, ("field 'pause'", "cannot be encoded"), bot(state="pause: type(time.sleep) = None")
    ),
    "a state that becomes what can't be encoded": BadCode(
        ROLLED_BACK,
        ("notes", "object"),
        bot(
            "def on_tick(self, tick):\n    self.state.notes['it'] = object()",
            state="ticks: int = 0\nnotes: dict = {}",
        ),
    ),
    "a state that has grown a required field": BadCode(
        ABORTED, ("limit", "default"), bot(state="limit: int\nticks: int = 0")
    ),
    "another protocol": BadCode(
        ABORTED,
        ("speaks neverblink protocol 7", "this side speaks 1", "install the same release of neverblink"),
        bot(
            first="""
            import neverblink.worker.runtime.bootstrap
            from neverblink.protocol import wire
            neverblink.worker.runtime.bootstrap.PROTOCOL = wire.PROTOCOL = wire.VersionRange(7, 7)
            """
        ),
    ),
    "sys.exit while it is imported": BadCode(
        ABORTED, ("importing bot failed", "SystemExit: 3"), bot(first="sys.exit(3)")
    ),
    "no end of words while it is imported": BadCode(
        ABORTED, ("importing bot failed", "RuntimeError"), bot(first="raise RuntimeError('x\\n' * 10_000)")
    ),
    "an on_start that raises": BadCode(
        ABORTED,
        ("on_start", "ConnectionError: the exchange is closed"),
        bot("def on_start(self):\n    raise ConnectionError('the exchange is closed')\n" + COUNT),
    ),
    "an on_load that raises": BadCode(
        ABORTED, ("on_load", "KeyError: 'BTC'"), bot("def on_load(self, state):\n    {}['BTC']\n" + COUNT)
    ),
    "a function without join": BadCode(
        ABORTED, ("main returned without having called join()",), loop("def main():\n    pass"), "main"
    ),
    "a function that leaves its loop": BadCode(
        ROLLED_BACK,
        ("returned before the loop had ended",),
        loop("def main():\n    for tick in join(Book, tick='10ms'):\n        break"),
        "main",
    ),
    "a tick that is not a duration": BadCode(ABORTED, ('tick = "often"',), bot(tick="often")),
}

USUAL = (
    "a typo in the configuration",
    "a name that is not there",
    "a state that becomes what can't be encoded",
    "a state that has grown a required field",
    "another protocol",
    "sys.exit while it is imported",
    "an on_load that raises",
    "a function without join",
)
"""One of each kind, in each run of the tests."""


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One live bot that all of this is done to; in the end it has never missed a tick."""
    here = Live(tmp_path_factory.mktemp("lasting"))
    try:
        here.up(here.code("v0", bot(tick="50ms")))
        yield here
        here.down()
        report = here.audit()
        assert report["doubled"] == 0
        assert all(gap["cause"] for gap in report["missing"])
    finally:
        here.close()


@pytest.mark.parametrize("what", cases(BAD, *USUAL))
def test_bad_code_is_rejected_in_one_line_and_the_bot_keeps_ticking(lasting: Live, what: str) -> None:
    bad = BAD[what]
    code = lasting.code(
        what.replace(" ", "-").replace("'", ""), bad.source, target=bad.target, probation="30s"
    )
    if bad.toml:
        (code / "neverblink.toml").write_text(bad.toml)
    before = lasting.book()
    ended = lasting.run("deploy", code, "--change-bot", "--json")
    assert ended.code == bad.exit, ended
    assert "Traceback" not in ended.out + ended.err
    message: str = ended.json["error"]["message"] if bad.exit == BAD_INPUT else ended.json["reason"]
    assert "\n" not in message
    assert len(message) < 700, message
    for words in bad.says:
        assert words in message
    if bad.exit == BAD_INPUT:
        assert message in one_line(ended)
    lasting.ticks_on()
    after = lasting.book()
    assert after["pid"] == before["pid"]
    assert after["ticks"] > before["ticks"]


def test_a_path_without_deployable_code_is_named_in_the_error(lasting: Live) -> None:
    for path, words in (
        ("nowhere", "is not a directory, a kept release"),
        ("v0/bot.py", "name the directory it is in"),
    ):
        refused = lasting.run("deploy", path)
        assert refused.code == BAD_INPUT, refused
        assert words in one_line(refused)
    unknown = lasting.run("rollback", "20990101T000000Z-00000000")
    assert unknown.code == BAD_INPUT, unknown
    assert "see `neverblink releases`" in one_line(unknown)
    lasting.ticks_on()


def test_a_missing_interpreter_or_one_without_neverblink_is_named_in_the_error(lasting: Live) -> None:
    code = lasting.code("pythons", COUNTER)
    absent = lasting.run("deploy", code, "--python", "python9.9", "--json")
    assert absent.code == ABORTED, absent
    assert "python = 'python9.9': there is no such interpreter" in absent.json["reason"]
    bare = lasting.tmp / "bare"
    bare.write_text("#!/bin/sh\necho 'No module named neverblink' >&2\nexit 1\n")
    bare.chmod(0o755)
    without = lasting.run("deploy", code, "--python", bare, "--json")
    assert without.code == ABORTED, without
    assert "has no neverblink: install it there" in without.json["reason"]
    lasting.ticks_on()


def test_garbage_and_100_mb_frames_on_the_request_socket_do_no_harm(lasting: Live) -> None:
    chance = random.Random(1)
    junk = [
        b"",
        b"\0",
        b"{",
        b'{"op":',
        b'{"op": "fly"}',
        b'{"op": "status", "wings": 2}',
        b"[]",
        b"\xc1" * 100,
    ]
    junk += [chance.randbytes(chance.randrange(1, 2000)) for _ in range(200)]
    with zmq.Context[zmq.Socket[bytes]]() as context:
        with context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(lasting.endpoint("requests"))
            for data in junk:
                socket.send(data)
                assert socket.poll(5000), data
                answer = socket.recv()
                # In the language of the question, as far as it was any.
                assert b"bad-request" in answer, (data, answer)
            for frames in ([b"a", b"b"], [b"", b"", b""], [b"x"] * 500):
                socket.send_multipart(frames)
                assert socket.poll(5000)
                assert b"bad-request" in socket.recv_multipart()[-1]
        for kind in (zmq.DEALER, zmq.REQ):
            with context.socket(kind) as socket:
                socket.setsockopt(zmq.LINGER, 0)
                watcher = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                socket.connect(lasting.endpoint("requests"))
                socket.send(bytes(100_000_000))
                # Who sends it is cut off: that is the answer.
                assert watcher.poll(20_000)
                socket.disable_monitor()
                watcher.close(0)
    for name in ("events", "supervisor", "w1"):
        with zmq.Context[zmq.Socket[bytes]]() as context, context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 1000)
            socket.connect(lasting.endpoint(name))
            for data in junk:
                try:
                    socket.send(data, zmq.NOBLOCK)
                except zmq.Again:
                    # ZeroMQ ends a connection between two kinds of socket that do not match, and keeps none to send to.
                    break
    lasting.ticks_on()
    assert lasting.run("status").code == 0


def test_a_second_up_in_the_same_home_is_refused_with_the_pid_of_the_first(lasting: Live) -> None:
    refused = lasting.run("up", "--project", lasting.code("second", COUNTER))
    assert refused.code == BUSY, refused
    assert f"already running: pid {lasting.status()['supervisor']['pid']}" in one_line(refused)
    lasting.ticks_on()


UP = {
    "a typo in the configuration": ('bto = "bot:Bot"\n', BAD_INPUT, ("bto", 'did you mean "bot"?')),
    "no configuration": (None, BAD_INPUT, ("neverblink.toml", "neverblink init")),
    "a name that is not there": ('bot = "bot:Bott"\n', DOWN, ("did you mean Bot?", "its log:")),
}


@pytest.mark.parametrize("what", cases(UP, "a typo in the configuration", "a name that is not there"))
def test_a_bot_that_cannot_be_started_is_reported_in_one_line(live: Live, what: str) -> None:
    toml, code, words = UP[what]
    project = live.code("v0", COUNTER)
    if toml is None:
        (project / "neverblink.toml").unlink()
    else:
        (project / "neverblink.toml").write_text(toml)
    ended = live.run("up", "--project", project)
    assert ended.code == code, ended
    message = one_line(ended)
    assert all(word in message for word in words), message
    assert live.processes() == []


def test_a_socket_that_cannot_be_created_is_reported_in_one_line(live: Live) -> None:
    (live.home / "run" / "requests.sock").mkdir(parents=True)
    ended = live.run("up", "--project", live.code("v0", COUNTER))
    assert ended.code == 1, ended
    assert "a socket can't be made" in one_line(ended)
    assert live.processes() == []


def test_up_after_a_kill_adopts_the_running_worker_or_else_recovers_from_the_journal(live: Live) -> None:
    project = live.code("v0", COUNTER)
    up = live.up(project)
    before = live.book()
    up.kill()
    up.ends()
    # What is alive is gone on with, and nothing of it is set aside.
    anew = live.run("up", "--project", project, "--fresh")
    assert anew.code == BUSY, anew
    assert f"pid {before['pid']}, it leads" in one_line(anew)
    up = live.up(project)
    assert live.book()["pid"] == before["pid"]
    up.kill()
    up.ends()
    os.kill(before["pid"], signal.SIGKILL)
    wait_for_end(before["pid"])
    live.up(project)
    assert live.book()["ticks"] > before["ticks"]
    live.down()
    live.audit()
    # Or anew, and then what was there is set aside.
    live.up(project, "--fresh")
    live.ticks_on()
    live.down()
    live.audit()
    assert len(list(live.home.glob("journal.*Z"))) == 1


def test_a_home_with_a_path_of_200_characters_works_like_any_other(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 60)[: 200 - len(str(tmp_path)) - 1]
    assert len(str(home)) == 200
    live = Live(tmp_path, home)
    try:
        live.up(live.code("v0", STEADY))
        deployed = live.run("deploy", live.code("v1", STEADY), "--json")
        assert deployed.code == 0, deployed
        assert live.run("status").code == 0
        live.down()
        report = live.audit()
        assert report["missed"] == report["doubled"] == 0
        unbroken(live.printed("tick"), report)
    finally:
        live.close()
