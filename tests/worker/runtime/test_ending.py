"""The end of a worker's process: it says why, drops the lease at once, and exits within its grace."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

GRACE = 0.3
"""Seconds that a process of these tests has; a real one has `EXIT_GRACE`."""

_HEAD = """
import asyncio
import atexit
import os
import signal
import sys
import threading
import time

import msgspec

from neverblink.protocol.assignment import Assignment
from neverblink.protocol.link import Failed, Report, Retire, Stop
from neverblink.worker import Worker, join
from neverblink.worker.runtime.standalone import StandaloneRuntime
from neverblink.worker.main import run_found
from neverblink.worker.runtime.exit_deadline import ExitDeadline
from neverblink.worker.runtime.bootstrap import Bootstrap


def say(text):
    os.write(1, f"{text}\\n".encode())


class Book(msgspec.Struct):
    ticks: int = 0


class Place(StandaloneRuntime):
    '''The place of a supervised worker, whose supervisor prints what it is told.'''

    def tell(self, message):
        super().tell(message)
        match message:
            case Failed():
                say(f"failed in {message.phase}: {message.reason}")
            case Report(done=True):
                say(f"done, lease held: {self.lease.held}")

    def expect_exit(self, status):
        ExitDeadline(GRACE, lambda: say("last")).arm(status)


place = Place()


def order(message):
    '''As if the supervisor had said it.'''
    place._listener.ordered(message)
    place.wake()


async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass


def block():
    time.sleep(3600)
"""

_TAIL = """
me = Assignment(bot="b", worker="w1", release="r", run="", lease="", journal="")
status = run_found(main, Bootstrap(me, place, began=0, supervised=True))
say(f"returned {status}")
sys.exit(status)
"""

OBSTACLES = {
    "a non-daemon thread": "threading.Thread(target=block, name='feed').start()",
    "an exit hook": "atexit.register(block)",
}
IN_A_LOOP = {
    **OBSTACLES,
    "a task that swallows its cancellation": "Place.kept = asyncio.get_running_loop().create_task(stubborn())",
    "a blocked to_thread": "Place.kept = asyncio.get_running_loop().create_task(asyncio.to_thread(block))",
}
USUAL = {
    ("class", "a task that swallows its cancellation"),
    ("class", "an exit hook"),
    ("for", "a non-daemon thread"),
    ("async for", "a blocked to_thread"),
    ("own event loop", "a task that swallows its cancellation"),
}
"""The others take the same ways, and are tried when there is more time."""
SHAPES = {
    "class": """
        class main(Worker[Book]):
            tick = "5ms"

            async def on_start(self):
                {first}

            async def on_tick(self, tick):
                self.state.ticks += 1
                if self.state.ticks == 3:
                    {then}

            def on_stop(self):
                if not getattr(self, "flat", True):
                    raise RuntimeError("not flat")
        """,
    "for": """
        def main():
            {first}
            for tick in join(Book, tick="5ms"):
                tick.state.ticks += 1
                if tick.state.ticks == 3:
                    {then}
        """,
    "async for": """
        async def main():
            {first}
            async for tick in join(Book, tick="5ms"):
                tick.state.ticks += 1
                if tick.state.ticks == 3:
                    {then}
        """,
    "own event loop": """
        def main():
            async def program():
                {first}
                async for tick in join(Book, tick="5ms"):
                    tick.state.ticks += 1
                    if tick.state.ticks == 3:
                        {then}

            asyncio.run(program())
        """,
}


class End(NamedTuple):
    status: int
    out: list[str]
    err: str
    took: float
    """Seconds from the worker's last word to the end of its process."""


def run(tmp_path: Path, shape: str, then: str, first: str = "pass") -> End:
    """Run a bot of this shape as a supervised worker: `first` where it starts, and `then` in its third tick."""
    body = dedent(SHAPES[shape]).format(first=first, then=then)
    file = tmp_path / "bot.py"
    head = _HEAD.replace("ExitDeadline(GRACE", f"ExitDeadline({int(GRACE * 1e9)}")
    file.write_text(head + body + _TAIL)
    # A process that does not end must fail the test, and not hang it.
    with subprocess.Popen(
        ["timeout", "-s", "KILL", "20", sys.executable, file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            out: list[str] = []
            reported_at = 0.0
            for line in process.stdout:
                out.append(line.strip())
                if out[-1].startswith("done"):
                    reported_at = time.monotonic()
            status = process.wait()
            took = time.monotonic() - reported_at
            return End(status, out, process.stderr.read(), took)
        finally:
            process.kill()


CASES = [
    pytest.param(
        shape,
        obstacle,
        id=f"{shape}-{obstacle}",
        marks=() if (shape, obstacle) in USUAL else pytest.mark.deep,
    )
    for shape in SHAPES
    for obstacle in (OBSTACLES if shape == "for" else IN_A_LOOP)
]


@pytest.mark.parametrize(("shape", "obstacle"), CASES)
def test_a_failed_worker_reports_it_and_exits_within_its_grace(
    tmp_path: Path, shape: str, obstacle: str
) -> None:
    ended = run(tmp_path, shape, "raise RuntimeError('boom')", IN_A_LOOP[obstacle])
    assert ended.status == 1
    assert len([line for line in ended.out if line.startswith("failed")]) == 1
    assert "RuntimeError: boom" in ended.out[0]
    assert ended.out[1] == "done, lease held: False"
    assert ended.out[-1] == "last"
    assert GRACE / 2 < ended.took < 10 * GRACE
    assert f"this process still ran {GRACE} s after its end had begun" in ended.err
    assert "Task was destroyed" not in ended.err


@pytest.mark.parametrize(("shape", "obstacle"), CASES)
def test_a_bot_that_was_stopped_exits_within_its_grace_with_0(
    tmp_path: Path, shape: str, obstacle: str
) -> None:
    ended = run(tmp_path, shape, "order(Stop())", IN_A_LOOP[obstacle])
    assert ended.status == 0
    assert not [line for line in ended.out if line.startswith("failed")]
    assert "done, lease held: False" in ended.out
    assert ended.out[-1] == "last"
    assert ended.took < 10 * GRACE


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("then", ["raise RuntimeError('boom')", "order(Stop())"], ids=["fails", "stops"])
def test_a_process_that_can_exit_does_not_wait_for_its_grace(tmp_path: Path, shape: str, then: str) -> None:
    ended = run(tmp_path, shape, then)
    assert "last" not in ended.out
    assert "still ran" not in ended.err
    assert "Task was destroyed" not in ended.err


@pytest.mark.parametrize(
    ("shape", "then", "reason"),
    [
        ("class", "raise KeyboardInterrupt", "on_tick raised KeyboardInterrupt"),
        ("class", "raise GeneratorExit('x')", "on_tick raised GeneratorExit: x"),
        ("class", "raise SystemExit(0)", "on_tick raised SystemExit: 0"),
        ("class", "raise type('Halt', (BaseException,), {})('now')", "on_tick raised Halt: now"),
        ("class", "asyncio.get_running_loop().stop()", "its event loop was stopped while the bot ran"),
        ("class", "asyncio.get_running_loop().call_soon(sys.exit, 3)", "SystemExit: 3 was raised outside"),
        ("class", "os.kill(os.getpid(), signal.SIGINT)", "it was interrupted (SIGINT"),
        ("class", "self.inbox.put('fill \\udcff', 1)", "a key must be UTF-8"),
        ("class", "self.set_timer('\\udcff', after=1)", "a name must be UTF-8"),
        ("class", "async with self.decision('\\udcff'): pass", "a name must be UTF-8"),
        ("class", "raise RuntimeError('\\udcff')", "on_tick raised RuntimeError: \\xff"),
        ("for", "raise KeyboardInterrupt", "the loop raised KeyboardInterrupt"),
        ("for", "sys.exit(0)", "the loop raised SystemExit: 0"),
        ("async for", "raise KeyboardInterrupt", "the loop raised KeyboardInterrupt"),
        ("async for", "asyncio.get_running_loop().stop()", "its event loop was stopped while the bot ran"),
        ("own event loop", "raise GeneratorExit", "the loop raised GeneratorExit"),
        ("own event loop", "return", "its function returned before the loop had ended"),
    ],
)
def test_an_end_while_the_bot_runs_is_reported_with_its_cause(
    tmp_path: Path, shape: str, then: str, reason: str
) -> None:
    ended = run(tmp_path, shape, then)
    failed = [line for line in ended.out if line.startswith("failed")]
    assert len(failed) == 1
    assert reason in failed[0]
    assert "import" not in failed[0]
    assert ended.status == 1
    assert "Task was destroyed" not in ended.err


def test_a_bot_that_fails_in_its_on_stop_leaves_once(tmp_path: Path) -> None:
    ended = run(tmp_path, "class", "self.flat = False; order(Stop())")
    assert ended.out[0] == "failed in stop: on_stop raised RuntimeError: not flat"
    assert ended.out[1] == "done, lease held: False"
    assert ended.status == 1
