"""logs: lines of either form, whose they are, and which of them are wanted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from neverblink.protocol.events import StepDone
from neverblink.protocol.logline import LogLine, encode_line, encode_text
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.store.history_db import HistoryDb
from neverblink.supervisor.store.state_dir import Home

from .test_history import BOT, CLI, json_of, run, worker

NOON = "2026-11-24T12:00:00.000Z"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def past(home: Home) -> Iterator[HistoryDb]:
    with HistoryDb.open(home.database, BOT) as history:
        yield history


def json_line(text: str, at: str = NOON, **more: Any) -> str:
    facts: dict[str, Any] = {"level": "info", "bot": "fox", "worker": "w1", "release": "v1"}
    return encode_line(LogLine(time=at, text=text, **{**facts, **more})).decode()


def texts(result: Result) -> list[str]:
    return [line["text"] for line in json_of(result)["lines"]]


def logs(home: Home, *args: str) -> Result:
    return run("logs", "--home", home.path, *args)


def test_lines_are_marked_with_their_release(home: Home, past: HistoryDb) -> None:
    worker(home, past, "w1", "v1", "one\ntwo\n")
    worker(home, past, "w2", "v2", "three\nunfinished")
    assert logs(home).stdout.splitlines() == ["v1 w1 | one", "v1 w1 | two", "v2 w2 | three"]
    assert logs(home, "-n", "2").stdout.splitlines() == ["v1 w1 | two", "v2 w2 | three"]
    answer = json_of(logs(home, "-R", "v2", "--json"))
    assert answer == {"lines": [{"release": "v2", "worker": "w2", "text": "three", "level": "info"}]}


def test_logs_are_followed_across_a_handoff(home: Home, past: HistoryDb) -> None:
    old = worker(home, past, "w1", "v1", "one\n")
    process = subprocess.Popen(
        [*CLI, "logs", "-f", "--home", home.path, "--json", "--level", "info"],
        stdout=subprocess.PIPE,
        env={**os.environ},
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["text"] == "one"
    worker(home, past, "w2", "v2", f"DEBUG not this\nthree\n{json_line('four', worker='w2', seq=7)}")
    for text, seq in (("three", None), ("four", 7)):
        line = json.loads(process.stdout.readline())
        assert (line["worker"], line["text"], line.get("seq")) == ("w2", text, seq)
    with old.open("a") as file:
        file.write("last words\n")
    line = json.loads(process.stdout.readline())
    assert line == {"release": "v1", "worker": "w1", "text": "last words", "level": "info"}
    with old.open("a") as file:
        file.write("before the rotation\n")
    old.rename(old.with_name("w1.log.1"))
    old.write_text("after it\n")
    for text in ("before the rotation", "after it"):
        assert json.loads(process.stdout.readline())["text"] == text
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == b""
    process.stdout.close()
    assert process.wait(30) == 0


def test_json_lines_have_all_known_keys(home: Home, past: HistoryDb) -> None:
    line = json_line("careful", level="warning", deployment=3, epoch=4, seq=99, fields={"market": "BTC"})
    worker(home, past, "w1", "v1", f"as printed\n{line}")
    assert logs(home).stdout.splitlines() == ["v1 w1 | as printed", "12:00:00.000 v1 w1 | careful"]
    _, found = json_of(logs(home, "--json"))["lines"]
    assert found == {
        "release": "v1", "worker": "w1", "text": "careful", "level": "warning", "time": NOON, "deployment": 3,
        "epoch": 4, "seq": 99, "fields": {"market": "BTC"},
    }  # fmt: skip


def test_lines_of_several_workers_are_in_the_order_of_time(home: Home, past: HistoryDb) -> None:
    def text(second: int, worker: str, text: str) -> str:
        return encode_text(f"2026-11-24T12:00:0{second}.000000Z", "info", worker, "v1", text).decode()

    worker(
        home, past, "w1", "v1", json_line("1") + text(2, "w1", "3") + "C code after 3\n" + text(4, "w1", "5")
    )
    worker(
        home, past, "w2", "v2", json_line("2", "2026-11-24T12:00:01.000Z", worker="w2") + text(3, "w2", "4")
    )
    assert texts(logs(home, "--json")) == ["1", "2", "3", "C code after 3", "4", "5"]
    assert logs(home, "-n", "1").stdout == "12:00:04.000 v1 w1 | 5\n"


def test_a_clock_that_was_set_does_not_change_the_order_of_a_workers_lines(
    home: Home, past: HistoryDb
) -> None:
    worker(
        home, past, "w1", "v1", json_line("1") + json_line("2", "2036-11-24T12:00:00.000Z") + json_line("3")
    )
    assert texts(logs(home, "--json")) == ["1", "2", "3"]


def test_a_long_line_is_cut(home: Home, past: HistoryDb) -> None:
    worker(home, past, "w1", "v1", "x" * 5000 + "\n")
    assert logs(home).stdout == f"v1 w1 | {'x' * 4000}… (cut: 5,000 characters)\n"
    assert texts(logs(home, "--json")) == ["x" * 5000]


def test_lines_can_be_filtered_by_level_and_worker(home: Home, past: HistoryDb) -> None:
    trace = "Traceback (most recent call last):\n  File x\nValueError: no\n"
    worker(
        home, past, "w1", "v1", f"fine\nWARNING:root:hm\n{trace}fine again\n{json_line('bad', level='error')}"
    )
    worker(home, past, "w2", "v2", "ERROR w2's\n")
    warned = ["WARNING:root:hm", *trace.splitlines(), "bad"]
    assert texts(logs(home, "--level", "warning", "--worker", "w1", "--json")) == warned
    assert texts(logs(home, "--level", "error", "--json")) == [*warned[1:], "ERROR w2's"]
    assert texts(logs(home, "-w", "w2", "--json")) == ["ERROR w2's"]
    # The limit counts matching lines, not searched ones.
    assert texts(logs(home, "--level", "error", "-n", "1", "--json")) == ["ERROR w2's"]
    unknown = logs(home, "-w", "w7")
    assert unknown.exit_code == Exit.BAD_INPUT
    assert "there is no log of 'w7'" in unknown.stderr


def test_the_lines_of_the_supervisor_are_shown_on_request(home: Home, past: HistoryDb) -> None:
    worker(home, past, "w1", "v1", "one\n")
    (home.logs / "supervisor.log").write_text(
        f"{NOON} worker w1 leads (first): release v1, epoch 1\n"
        + json_line("w1 ended", event="worker-exited")
    )
    assert texts(logs(home, "--json")) == ["one"]
    # The supervisor writes the line, even if it is about a worker.
    assert logs(home, "-w", "supervisor").stdout.splitlines() == [
        f"supervisor | {NOON} worker w1 leads (first): release v1, epoch 1",
        "12:00:00.000 supervisor | w1 ended",
    ]
    _, ended = json_of(logs(home, "-w", "supervisor", "--json"))["lines"]
    assert (ended["worker"], ended["release"], ended["about"]) == ("supervisor", "", "w1")


def test_a_deployment_shows_its_worker_and_the_lines_of_the_supervisor_about_it(
    home: Home, past: HistoryDb
) -> None:
    assert past.begin("deploy", "v2", "v1", 1) == 1
    past.record(
        StepDone(bot=BOT, at=2, deployment=1, step="spawned", text="", facts={"worker": "w2", "pid": 1})
    )
    worker(home, past, "w1", "v1", "old code\n")
    worker(home, past, "w2", "v2", f"in text\n{json_line('in json', worker='w2', deployment=1)}")
    worker(home, past, "w3", "v2", json_line("a standby", worker="w3"))
    (home.logs / "supervisor.log").write_text(
        f"{NOON} deployment 1: v2 takes over from v1\n{NOON} deployment 11: v3\n"
        + json_line("deployment 1 done", worker="", release="", deployment=1, event="deployment-ended")
    )
    found = texts(logs(home, "--deployment", "1", "--json"))
    assert found == ["in text", "in json", f"{NOON} deployment 1: v2 takes over from v1", "deployment 1 done"]
    assert texts(logs(home, "--deployment", "1", "--worker", "w2", "--json")) == ["in text", "in json"]


def test_lines_can_be_filtered_by_time(home: Home, past: HistoryDb) -> None:
    now = time.time()

    def ago(seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now - seconds))

    worker(
        home,
        past,
        "w1",
        "v1",
        json_line("old", ago(900)) + "of old\n" + json_line("new", ago(60)) + "of new\n",
    )
    stamps = [time.strftime("%Y-%m-%d %H:%M:%S,123", time.localtime(now - s)) for s in (900, 60)]
    worker(home, past, "w2", "v2", f"{stamps[0]} INFO old\n{stamps[1]} INFO new\n")
    silent = worker(home, past, "w3", "v3", "long ago\n")
    os.utime(silent, (now - 900, now - 900))
    worker(home, past, "w4", "v4", "just now\n")
    found = texts(logs(home, "--since", "10m", "--json"))
    assert found == ["new", "of new", f"{stamps[1]} INFO new", "just now"]
    wrong = logs(home, "--since", "12345")
    assert wrong.exit_code == Exit.BAD_INPUT
    assert "expected a time such as 14:05:09, or a duration such as 10m" in wrong.stderr
