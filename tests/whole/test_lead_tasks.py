"""Tasks and threads that run as long as a process leads, with real processes.

A task that dies must not go unseen, and two processes must never act at the same time: each test has a thread or task
that says when it acts, with its pid, and looks at what all processes said.
"""

from __future__ import annotations

import pytest

from .live import Live

_HEAD = """
import asyncio
import os
import time
import msgspec
from neverblink.worker import Worker, join


class Book(msgspec.Struct):
    ticks: int = 0
    prices: dict[str, int] = {}


def say(text):
    os.write(1, f"life {os.getpid()} {time.monotonic_ns()} {text}\\n".encode())


class Base(Worker[Book]):
    tick = "50ms"

    def on_tick(self, tick):
        self.state.ticks += 1

    def on_command(self, name, args):
        return {"pid": os.getpid(), **msgspec.to_builtins(self.state)}

    def send(self, stop):
        say("begins")
        while not stop.wait(0.02):
            say("acts")
        say("ends")

    async def read(self):
        say("begins")
        try:
            while True:
                say("acts")
                await asyncio.sleep(0.02)
        finally:
            say("ends")
"""

_THREAD = """
class Bot(Base):
    def on_start(self):
        self.while_leading(self.send)
"""

_TASK = """
class Bot(Base):
    def on_start(self):
        self.while_leading(self.read)
"""

_LOOP = """
def send(stop):
    say("begins")
    while not stop.wait(0.02):
        say("acts")
    say("ends")


def Bot():
    loop = join(Book, tick="50ms")
    loop.while_leading(send)
    for tick in loop:
        assert loop.leading
        tick.state.ticks += 1
        for command in tick.commands:
            tick.answers[command.key] = {"pid": os.getpid(), "ticks": tick.state.ticks}
"""

_ASYNC_LOOP = """
async def read():
    await Base.read(None)


async def Bot():
    loop = join(Book, tick="50ms")
    loop.while_leading(read)
    async for tick in loop:
        tick.state.ticks += 1
        for command in tick.commands:
            tick.answers[command.key] = {"pid": os.getpid(), "ticks": tick.state.ticks}
"""


def lives(live: Live) -> list[tuple[int, int, str]]:
    """What the tasks said, in order: the time, the pid and the text."""
    said = [line.split(maxsplit=2) for line in live.printed("life")]
    return sorted((int(at), int(pid), text) for pid, at, text in said)


def assert_one_at_a_time(said: list[tuple[int, int, str]]) -> None:
    """No process acts before that of another one has ended."""
    running = 0
    for (_, pid, text), (_, before, _) in zip(said, [said[0], *said], strict=False):
        if text == "begins":
            assert not running, f"{pid} began while {running} ran"
            running = pid
        assert running == pid, f"{pid} {text} while {running or before} ran"
        if text == "ends":
            running = 0


def begins(live: Live, times: int, pid: int = 0) -> None:
    """Wait until a task of the process has begun so often."""
    live.prints(
        "life", lambda _: [text for _, who, text in lives(live) if pid in (0, who)].count("begins") >= times
    )


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(_THREAD, id="a thread of a class"),
        pytest.param(_TASK, id="a task of a class", marks=pytest.mark.deep),
        pytest.param(_LOOP, id="a thread of a loop", marks=pytest.mark.deep),
        pytest.param(_ASYNC_LOOP, id="a task of an async loop", marks=pytest.mark.deep),
    ],
)
def test_what_is_bound_to_the_lead_never_runs_in_two_processes(live: Live, code: str) -> None:
    live.up(live.code("v0", _HEAD + code))
    begins(live, 1)
    [task] = live.status()["tasks"]
    assert task["state"] == "running"
    begun = live.begin(live.code("v1", f"{_HEAD}{code}# new", probation="30s"))
    live.phase(begun, "probation")
    begins(live, 2)
    live.ticks_on()
    assert live.run("rollback").code == 0
    assert live.ended(begun)["outcome"] == "rolled_back"
    begins(live, 3)
    live.ticks_on()
    live.down()
    said = lives(live)
    assert_one_at_a_time(said)
    assert [text for _, _, text in said].count("begins") == 3
    assert live.audit()["missed"] == 0
