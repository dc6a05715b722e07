"""The kernel's data on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from neverblink.supervisor.system.process import ProcessActivity, doing

WITHIN = 20.0
Start = Callable[[str], int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python program; return its pid once it has printed a line."""
    children: list[subprocess.Popen[bytes]] = []

    def begin(program: str) -> int:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child.pid

    yield begin
    for child in children:
        # Not `child.kill`: it takes a traced child that has stopped for one that has ended.
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()


def until(pid: int, condition: Callable[[ProcessActivity], object]) -> ProcessActivity:
    """Look until it is so: /proc rings no bell."""
    deadline = time.monotonic() + WITHIN
    while True:
        seen = doing(pid)
        assert seen is not None
        if condition(seen):
            return seen
        assert time.monotonic() < deadline, seen
        time.sleep(0.005)


def test_a_sleeping_stopped_and_ended_process_is_recognised(start: Start) -> None:
    # More than one of the kernel's clock ticks, in which it counts.
    pid = start("import time; sum(range(3_000_000)); print(flush=True); time.sleep(600)")
    asleep = until(pid, lambda seen: seen.state == "S")
    assert asleep.tracer == 0
    os.kill(pid, signal.SIGSTOP)
    stopped = until(pid, lambda seen: seen.state == "T")
    assert stopped.cpu == asleep.cpu > 0
    os.kill(pid, signal.SIGCONT)
    until(pid, lambda seen: seen.state == "S")
    os.kill(pid, signal.SIGKILL)
    until(pid, lambda seen: seen.state == "Z")


def test_a_computing_process_is_recognised(start: Start) -> None:
    pid = start("print(flush=True)\nwhile True: pass")
    before = until(pid, lambda seen: seen.state == "R")
    until(pid, lambda seen: seen.cpu > before.cpu + 100_000_000)


def test_a_process_stopped_by_a_debugger_is_recognised(start: Start) -> None:
    pid = start(
        "import ctypes, os, signal\n"
        "refused = ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n"
        "print(refused, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    deadline = time.monotonic() + WITHIN
    while (seen := doing(pid)) is not None and seen.state != "t":
        if seen.state == "T" or time.monotonic() > deadline:
            pytest.skip("this kernel allows no tracing")
        time.sleep(0.005)
    assert seen == ProcessActivity("t", seen.cpu if seen else 0, os.getpid())


def test_a_missing_process_is_recognised() -> None:
    assert doing(2**22 + 1) is None
