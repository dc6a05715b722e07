"""What a worker prints: whole lines, from whichever thread, child or handler, and never an error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HEAD = """
import os, sys, threading, logging
from neverblink.protocol.assignment import Assignment
from neverblink.worker.io.output import capture_output
me = Assignment(bot="fox", worker="w3", release="v2", run="", lease="", journal="", deployment=7, log="json")
output = capture_output(me)
"""


def printed(tmp_path: Path, code: str) -> list[dict[str, Any]]:
    """The lines that this code leaves in a file."""
    log = tmp_path / "log"
    with log.open("ab") as file:
        subprocess.run([sys.executable, "-c", HEAD + code], stdout=file, stderr=file, check=True)
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_each_line_has_its_level_and_the_workers_position(tmp_path: Path) -> None:
    code = """
print("starting")
output.position = lambda: (4, 99)
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


def test_any_output_becomes_a_line_and_raises_nothing(tmp_path: Path) -> None:
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


TEXT = HEAD.replace('log="json"', 'log="text"')
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (\w+) +w3 v2 \| (.*)")


def test_as_text_each_line_has_time_level_worker_and_release(tmp_path: Path) -> None:
    code = """
print("one\\ntwo")
logging.warning("careful")
try: 1 / 0
except ZeroDivisionError as problem:
    from neverblink.worker.io.output import report_exception
    report_exception(problem)
print('{"level": "error", "message": "structured"}')
print("half \\ud800 a pair")
os.write(1, b"raw\\n")
"""
    log = tmp_path / "log"
    with log.open("ab") as file:
        subprocess.run([sys.executable, "-c", TEXT + code], stdout=file, stderr=file, check=True)
    *lines, raw = log.read_text().splitlines()
    found = [match.groups() for line in lines if (match := LINE.fullmatch(line))]
    assert len(found) == len(lines)
    assert found[:3] == [("info", "one"), ("info", "two"), ("warning", "WARNING:root:careful")]
    assert found[3] == ("error", "Traceback (most recent call last):")
    assert ("error", "ZeroDivisionError: division by zero") in found
    assert found[-2:] == [
        ("error", '{"level": "error", "message": "structured"}'),
        ("info", "half \\ud800 a pair"),
    ]
    assert raw == "raw"


def test_reports_do_not_fail_when_the_bot_changes_its_streams(tmp_path: Path) -> None:
    code = """
from neverblink.worker.io.output import report
class Broken:
    def write(self, text): raise RuntimeError("broken")
for stream in (Broken(), None, 7):
    sys.stderr = stream
    report("not heard")
sys.stderr = sys.__stderr__
sys.stderr.close()
sys.stdout.close()
report("heard")
print("printed")
"""
    assert [line["text"] for line in printed(tmp_path, code)] == ["heard", "printed"]


ALONE = """
import os, sys, time, logging
from neverblink.worker.io.output import report, unfailing_output
unfailing_output()
"""


def alone(code: str, stdout: int | None = None, stderr: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", ALONE + code], stdout=stdout, stderr=stderr)


def test_a_standalone_bots_output_is_unchanged(tmp_path: Path) -> None:
    ran = alone("print('a', end=''); print('b'); print('e', file=sys.stderr)", stdout=-1, stderr=-1)
    assert ran.communicate(timeout=30) == (b"ab\n", b"e\n")


def test_alone_a_closed_pipe_or_stream_or_a_full_disk_raises_nothing_and_keeps_the_exit_status(
    tmp_path: Path,
) -> None:
    report = tmp_path / "report"
    code = f"""
print("x" * 100_000)
logging.warning("x")
report("x")
print("end", file=open({str(report)!r}, "w"))
"""
    readable, writable = os.pipe()
    os.close(readable)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (writable, full):
        ran = alone(code, stdout=descriptor, stderr=descriptor)
        assert ran.wait(30) == 0
        assert report.read_text() == "end\n"
        report.unlink()
        os.close(descriptor)
    shell = ["sh", "-c", f'exec "{sys.executable}" -c "$0" >&- 2>&-', ALONE + code]
    assert subprocess.run(shell, check=False, timeout=30).returncode == 0
    assert report.read_text() == "end\n"


def test_alone_a_stopped_reader_does_not_block_the_bot() -> None:
    readable, writable = os.pipe()
    began = time.monotonic()
    ran = alone("for n in range(200): print('x' * 1000)", stdout=writable)
    assert ran.wait(30) == 0
    assert time.monotonic() - began < 10
    os.close(writable)
    with open(readable, "rb") as pipe:
        # What there was room for is there, whole up to the moment when it stopped.
        assert pipe.read().startswith(b"x" * 1000 + b"\n")
