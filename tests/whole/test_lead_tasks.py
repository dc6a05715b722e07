"""Tasks and threads that run as long as a process leads, with real processes.

A task that dies must not go unseen, and two processes must never act at the same time: each test has a thread or task
that says when it acts, with its pid, and looks at what all processes said.
"""

from __future__ import annotations

from pathlib import Path

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


_DYING = """
class Bot(Base):
    def on_start(self):
        self.while_leading(self.read, on_end="{on_end}")

    async def read(self):
        await asyncio.sleep(0.3)
        raise ConnectionError("the feed is gone")
"""


def test_new_code_whose_reader_dies_in_the_probation_is_rolled_back_with_its_name_and_error(
    live: Live,
) -> None:
    """The case behind it: a reader died unseen, and the bot traded on stale prices while everything was green."""
    live.up(live.code("v0", _HEAD + _TASK))
    begins(live, 1)
    code = live.code("v1", _HEAD + _DYING.format(on_end="unhealthy"), probation="30s")
    deployed = live.run("deploy", code)
    assert deployed.code == 4, deployed
    assert "task read raised ConnectionError: the feed is gone" in deployed.out + deployed.err
    assert live.event(type="task-failed", task="read")["unhealthy"]
    begins(live, 2)
    live.ticks_on()
    assert_one_at_a_time(lives(live))


@pytest.mark.deep
def test_a_reader_that_dies_outside_a_probation_is_reported_everywhere_and_starts_again(live: Live) -> None:
    live.up(live.code("v0", _HEAD + _DYING.format(on_end="restart")))
    event = live.event(type="task-failed")
    assert event["text"] == "task read raised ConnectionError: the feed is gone"
    assert not event["unhealthy"]
    live.event(type="task-failed", row=2)
    [task] = live.status()["tasks"]
    assert task["error"] == "raised ConnectionError: the feed is gone"
    shown = live.run("status")
    assert "read" in shown.out, shown
    logged = live.run("logs")
    assert "ERROR: neverblink: task read raised ConnectionError: the feed is gone" in logged.out, logged
    assert 'raise ConnectionError("the feed is gone")' in logged.out
    supervisor = live.run("logs", "-w", "supervisor")
    assert "the feed is gone (starts again)" in supervisor.out
    live.ticks_on()


@pytest.mark.deep
def test_an_unhealthy_task_outside_a_probation_stays_in_the_status(live: Live) -> None:
    live.up(live.code("v0", _HEAD + _DYING.format(on_end="unhealthy")))
    live.event(type="task-failed", unhealthy=True)
    shown = live.run("status")
    assert "read is unhealthy" in shown.out, shown
    assert "the feed is gone" in shown.out
    live.ticks_on()


_STUBBORN_TASK = """
class Bot(Base):
    yield_within = "300ms"

    def on_start(self):
        self.while_leading(self.read)

    async def read(self):
        say("begins")
        while True:
            try:
                say("acts")
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                say("swallows")
"""

_STUBBORN_THREAD = """
class Bot(Base):
    yield_within = "300ms"

    def on_start(self):
        self.while_leading(self.send)

    def send(self, stop):
        say("begins")
        while True:
            say("acts")
            time.sleep(0.02)
"""


@pytest.mark.deep
@pytest.mark.parametrize(
    ("code", "name"),
    [(_STUBBORN_TASK, "task read"), (_STUBBORN_THREAD, "thread send")],
    ids=["task", "thread"],
)
def test_a_handoff_from_code_whose_task_does_not_end_is_given_up_with_its_name(
    live: Live, code: str, name: str
) -> None:
    live.up(live.code("v0", _HEAD + code))
    begins(live, 1)
    deployed = live.run("deploy", live.code("v1", _HEAD + _THREAD))
    assert deployed.code == 6, deployed
    assert f"{name}, which did not end within 300ms" in deployed.out + deployed.err
    live.ticks_on()
    said = lives(live)
    assert len({pid for _, pid, _ in said}) == 1
    assert said[-1][2] == "acts"
    assert live.run("restart").code == 6
    forced = live.run("deploy", "--force", live.tmp / "v1")
    assert forced.code == 0, forced
    begins(live, 2)
    said = lives(live)
    first = said[0][1]
    assert [pid for _, pid, _ in said] == sorted((pid for _, pid, _ in said), key=lambda pid: pid != first)


@pytest.mark.deep
@pytest.mark.parametrize("code", [_STUBBORN_TASK, _STUBBORN_THREAD], ids=["task", "thread"])
def test_a_rollback_from_code_whose_task_does_not_end_kills_it_before_the_old_code_acts(
    live: Live, code: str
) -> None:
    live.up(live.code("v0", _HEAD + _THREAD))
    begins(live, 1)
    begun = live.begin(live.code("v1", _HEAD + code, probation="30s"))
    live.phase(begun, "probation")
    begins(live, 2)
    assert live.run("rollback").code == 0
    assert live.ended(begun)["outcome"] == "rolled_back"
    begins(live, 3)
    live.ticks_on()
    said = lives(live)
    old = said[0][1]
    of_new = [at for at, pid, _ in said if pid != old]
    assert not [text for at, pid, text in said if pid == old and of_new[0] < at < of_new[-1]]


@pytest.mark.deep
def test_new_code_that_fails_with_a_thread_that_does_not_end_is_rolled_back(live: Live) -> None:
    """The old code waits for the lease, and must get it before the supervisor takes it for dead."""
    live.up(live.code("v0", _HEAD + _THREAD))
    begins(live, 1)
    failing = f"""{_HEAD}{_STUBBORN_THREAD}
    def on_tick(self, tick):
        if not tick.first:
            raise ValueError("broken")
"""
    deployed = live.run("deploy", live.code("v1", failing, probation="30s"))
    assert deployed.code == 4, deployed
    begins(live, 3)
    live.ticks_on()
    said = lives(live)
    old = said[0][1]
    of_new = [at for at, pid, _ in said if pid != old]
    assert not [text for at, pid, text in said if pid == old and of_new[0] < at < of_new[-1]]


@pytest.mark.deep
def test_a_process_that_fails_holds_the_lease_until_its_thread_has_ended(live: Live) -> None:
    """Otherwise the standby's thread would act beside that of the dying process."""
    code = """
class Bot(Base):
    def on_start(self):
        self.while_leading(self.send)

    def send(self, stop):
        say("begins")
        while not stop.wait(0.02):
            say("acts")
        for _ in range(20):
            time.sleep(0.02)
            say("acts")
        say("ends")

    def on_command(self, name, args):
        if name == "fail":
            self.failing = True
        return super().on_command(name, args)

    def on_tick(self, tick):
        super().on_tick(tick)
        if getattr(self, "failing", False):
            raise ValueError("broken")
"""
    live.up(live.code("v0", _HEAD + code, standby=1))
    begins(live, 1)
    live.event(type="standby", state="ready")
    live.run("send", "fail")
    begins(live, 2)
    live.ticks_on()
    assert_one_at_a_time(lives(live))


@pytest.mark.deep
def test_a_key_that_admits_one_session_is_released_in_on_yielding(live: Live, tmp_path: Path) -> None:
    """The exchange here is a Unix socket: only one process can be bound to its address."""
    code = f"""
import socket


class Bot(Base):
    def on_lead(self, in_doubt):
        self.session = socket.socket(socket.AF_UNIX)
        self.session.bind(ADDRESS)
        say("opens")

    async def on_yielding(self):
        self.session.close()
        os.unlink(ADDRESS)
        await asyncio.sleep(0.01)
        say("closes")

    def on_tick(self, tick):
        super().on_tick(tick)
        assert self.session.fileno() >= 0, "a tick without its session"


ADDRESS = {str(tmp_path / "key")!r}
"""
    live.up(live.code("v0", _HEAD + code))
    begun = live.begin(live.code("v1", f"{_HEAD}{code}# new", probation="30s"))
    live.phase(begun, "probation")
    step = live.event(type="step", deployment=begun, step="yielding")
    assert step["facts"]["handler"] >= 10_000_000
    assert "on_yielding took" in step["text"]
    live.ticks_on()
    assert live.run("rollback").code == 0
    live.ended(begun)
    live.ticks_on()
    assert [text for _, _, text in lives(live)] == ["opens", "closes", "opens", "closes", "opens"]
    handed = live.event(type="step", deployment=begun, step="handed")
    assert handed["facts"]["blackout"] < 10_000_000
