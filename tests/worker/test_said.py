"""What a worker prints in JSON: whole lines, whatever is written, from whichever thread, child or handler."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HEAD = """
import os, sys, threading, logging
from neverblink.protocol.assignment import Assignment
from neverblink.worker.said import say_in_json
me = Assignment(bot="fox", worker="w3", release="v2", run="", lease="", journal="", deployment=7, log="json")
said = say_in_json(me)
"""


def printed(tmp_path: Path, code: str) -> list[dict[str, Any]]:
    """The lines that this code leaves in a file."""
    log = tmp_path / "log"
    with log.open("ab") as file:
        subprocess.run([sys.executable, "-c", HEAD + code], stdout=file, stderr=file, check=True)
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_each_line_has_its_level_and_where_the_worker_is(tmp_path: Path) -> None:
    code = """
print("starting")
said.stands = lambda: (4, 99)
print("one", "two", sep="\\n")
logging.warning("careful")
sys.stderr.write("no end")
"""
    starting, one, two, careful, end = printed(tmp_path, code)
    assert {key: starting[key] for key in ("bot", "worker", "release", "deployment")} == {
        "bot": "fox", "worker": "w3", "release": "v2", "deployment": 7,
    }  # fmt: skip
    assert "epoch" not in starting
    assert (one["text"], two["text"], two["epoch"], two["seq"]) == ("one", "two", 4, 99)
    assert (careful["text"], careful["level"]) == ("WARNING:root:careful", "warning")
    # What never got its end is not lost when the process ends.
    assert end["text"] == "no end"


def test_whatever_is_printed_is_a_line_and_never_an_error(tmp_path: Path) -> None:
    code = """
print("half \\ud800 a pair")
print('{"n": 123456789012345678901234567890, "message": "big"}')
print('{"broken": ')
print("x" * 200_000)
assert not sys.stdout.isatty() and sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2
sys.stdout.flush()
sys.stdout.buffer.write(b'{"raw": true}\\n')
sys.stdout.buffer.flush()
"""
    half, big, broken, *long, raw = printed(tmp_path, code)
    assert half["text"] == "half \\ud800 a pair"
    assert big["text"] == "big"
    assert broken["text"] == '{"broken": '
    assert "".join(line["text"] for line in long) == "x" * 200_000
    assert raw == {"raw": True}


def test_threads_children_and_a_log_that_cannot_be_written_do_no_harm(tmp_path: Path) -> None:
    code = """
threads = [threading.Thread(target=lambda n=n: [sys.stdout.write(f"{n} {i}\\n") for i in range(200)]) for n in range(4)]
for thread in threads: thread.start()
if os.fork() == 0:
    print("a child")
    os._exit(0)
os.wait()
for thread in threads: thread.join()
saved = os.dup(1)
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
print("nowhere")
os.dup2(saved, 1)
print("there")
"""
    texts = [line["text"] for line in printed(tmp_path, code)]
    for n in range(4):
        assert [text for text in texts if text.startswith(f"{n} ")] == [f"{n} {i}" for i in range(200)]
    assert "a child" in texts
    assert "nowhere" not in texts
    assert texts[-1] == "there"
