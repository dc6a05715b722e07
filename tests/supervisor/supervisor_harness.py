"""A real supervisor in the test's event loop, with fake workers, and a client for requests and events."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from neverblink.protocol.commands import (
    EVENT_SOCKET,
    REQUEST_SOCKET,
    Answer,
    Command,
    Deploy,
    Down,
    Status,
    decode_answer,
    encode_command,
)
from neverblink.protocol.events import Event, decode_event
from neverblink.supervisor import daemon
from neverblink.supervisor.config.config import load
from neverblink.supervisor.sockets.zmq_socket import ZmqSocket
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.system.process import started_at

WITHIN = 20.0
"""Seconds after which a test fails if its condition has not become true."""

BOUNDS = {
    "start_within": "5s",
    "rehearse_within": "5s",
    "boundary_within": "5s",
    "lease_within": "250ms",
    "probation": "300ms",
}


def refused(answer: Answer) -> tuple[str, str]:
    """Return the code and the message of a refused command."""
    assert answer.error is not None, answer
    return answer.error.code, answer.error.message


class SupervisorHarness:
    """One bot in `tmp`. Use `play` to run a scenario."""

    def __init__(self, tmp: Path, home: Path | None = None) -> None:
        self.tmp = tmp
        self.home = Home(home or tmp / "home")
        self.python = tmp / "fake_worker"
        self.python.write_text(
            f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_worker.py")} "$@"\n'
        )
        self.python.chmod(0o755)
        self.screen = io.StringIO()
        self.events: list[Event] = []
        self.exit: asyncio.Task[int]
        self.requests: ZmqSocket
        self.last_events: Callable[[], None]
        self.stir = asyncio.Event()
        self.answers: dict[str, asyncio.Future[Answer]] = {}
        self._asked = 0
        self.within = WITHIN

    def code(
        self, name: str, *, python: str = "", bounds: dict[str, str] | None = None, **script: Any
    ) -> Path:
        """A directory of code: a worker that does what `script` says (see `fake_worker`)."""
        place = self.tmp / name
        place.mkdir(exist_ok=True)
        (place / "bot.py").write_text(f"# the fake worker {name}\n")
        (place / "script.json").write_bytes(msgspec.json.encode(script))
        handoff = "".join(f'{key} = "{value}"\n' for key, value in {**BOUNDS, **(bounds or {})}.items())
        (place / "neverblink.toml").write_text(
            f'name = "fox"\nbot = "bot:Fox"\npython = "{python or self.python}"\n[handoff]\n{handoff}'
        )
        return place

    def play(
        self,
        scenario: Callable[[SupervisorHarness], Awaitable[object]],
        code: Path | None = None,
        **options: Any,
    ) -> int:
        """Start the daemon on `code` (default: a plain fake worker), play, stop it; return its exit code."""

        async def played() -> int:
            self.stir = asyncio.Event()
            with _Connection(self) as connection:
                self.exit = asyncio.ensure_future(
                    daemon.run(
                        load(code or self.code("v1")),
                        Home.open(self.home.path),
                        screen=self.screen,
                        **options,
                    )
                )
                try:
                    await scenario(self)
                finally:
                    down = asyncio.ensure_future(self.ask(Down()))
                    await asyncio.wait([down, self.exit], return_when=asyncio.FIRST_COMPLETED)
                    down.cancel()
                    await asyncio.wait([self.exit])
                await asyncio.to_thread(connection.until_closed)
                self.last_events()
            return await self.exit

        return asyncio.run(asyncio.wait_for(played(), self.within))

    async def ask(self, command: Command) -> Answer:
        """Send a command and return the supervisor's answer."""
        self._asked += 1
        id = f"t{self._asked}"
        self.answers[id] = asyncio.get_running_loop().create_future()
        self.requests.send([encode_command(msgspec.structs.replace(command, id=id))])
        return await self.answers[id]

    async def status(self) -> dict[str, Any]:
        answer = await self.ask(Status())
        assert answer.error is None, answer
        return answer.result

    async def deploy(self, path: Path, **how: Any) -> Answer:
        """Deploy and wait for the end."""
        return await self.ask(Deploy(path=str(path), wait=True, **how))

    async def running(self) -> dict[str, Any]:
        """Wait until the bot runs; return the status."""
        return await self.until(lambda status: status["state"] == "running")

    async def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Request the status after each event until the condition holds."""
        while True:
            # Before the request: an event that arrives during it causes another request.
            self.stir.clear()
            status = await self.status()
            if condition(status):
                return status
            await self.stir.wait()

    async def deploying(self, key: str, value: str) -> dict[str, Any]:
        """Wait until the running deployment has this value."""

        def matches(status: dict[str, Any]) -> bool:
            active: dict[str, Any] | None = status["deployment"]
            return active is not None and active[key] == value

        return await self.until(matches)

    async def event(self, condition: Callable[[Any], object]) -> Any:
        """Return the first event, past or future, for which the condition holds."""
        while True:
            for event in self.events:
                if condition(event):
                    return event
            self.stir.clear()
            await self.stir.wait()

    def events_of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def steps(self) -> list[str]:
        return [str(getattr(event, "step", "")) for event in self.events if hasattr(event, "step")]

    def phases(self) -> list[str]:
        return [str(getattr(event, "phase", "")) for event in self.events if hasattr(event, "phase")]


class _Connection:
    """The sockets of a client, open inside the `with` block."""

    def __init__(self, harness: SupervisorHarness) -> None:
        self.harness = harness

    def __enter__(self) -> _Connection:
        harness = self.harness
        Home.open(harness.home.path)
        self.context = zmq.Context[zmq.Socket[bytes]]()
        self.sockets = harness.home.sockets()
        requests = self.context.socket(zmq.DEALER)
        requests.setsockopt(zmq.RECONNECT_IVL, 20)
        requests.connect(self.sockets.endpoint(REQUEST_SOCKET))
        events = self.context.socket(zmq.SUB)
        events.setsockopt(zmq.RECONNECT_IVL, 20)
        events.setsockopt(zmq.SUBSCRIBE, b"")
        self.monitor = events.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        events.connect(self.sockets.endpoint(EVENT_SOCKET))
        harness.requests = ZmqSocket(requests, self._answered)
        self.events = ZmqSocket(events, self._published)
        harness.last_events = self.events.drain
        return self

    def until_closed(self) -> None:
        """Wait until the daemon's event socket, if it existed, is closed: then all its events have arrived."""
        connected = False
        while connected or self.monitor.poll(0):
            event = recv_monitor_message(self.monitor)["event"]
            connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED

    def __exit__(self, *_: object) -> None:
        self.monitor.close(0)
        self.harness.requests.close()
        self.events.close()
        self.context.term()
        self.sockets.close()

    def _answered(self, frames: list[bytes]) -> None:
        answer = decode_answer(frames[-1])
        waiting = self.harness.answers.pop(answer.id)
        if not waiting.done():
            waiting.set_result(answer)

    def _published(self, frames: list[bytes]) -> None:
        self.harness.events.append(decode_event(frames[-1]))
        self.harness.stir.set()


def gone(pid: int) -> bool:
    """Whether there is no process with this pid."""
    return started_at(pid) is None
