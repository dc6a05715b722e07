"""A bot's listening sockets: an HTTP server that goes through deployments, rollbacks, kills and new supervisors."""

from __future__ import annotations

import http.client
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from ..ports import HOST, free_port
from .bots import COUNT, bot
from .live import WITHIN, Live

SERVER = """
    async def on_start(self):
        await asyncio.start_server(self.answer, sock=self.sockets["api"])

    async def answer(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\\r\\n\\r\\n")
            text = f"{release} {os.getpid()} {self.leading}".encode()
            head = f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(text)}\\r\\nConnection: close\\r\\n\\r\\n"
            writer.write(head.encode() + text)
            await writer.drain()
        writer.close()
    """
"""A small HTTP server, started in every process, which answers with its release, its pid, and whether it leads."""


def code(
    live: Live,
    release: str,
    address: str,
    handlers: str = SERVER,
    *,
    standby: int = 0,
    probation: str = "100ms",
) -> Path:
    source = bot(handlers + COUNT, first=f"import contextlib\nrelease = {release!r}")
    place = live.code(release, source, standby=standby, probation=probation)
    with (place / "neverblink.toml").open("a") as file:
        file.write(f"[sockets]\napi = {address}\n")
    return place


def ask(port: int, within: float = WITHIN) -> tuple[str, int, bool]:
    """Who answers a request on a connection of its own: release, pid, and whether it leads."""
    connection = http.client.HTTPConnection(HOST, port, timeout=within)
    try:
        connection.request("GET", "/")
        release, pid, leads = connection.getresponse().read().decode().split()
        return release, int(pid), leads == "True"
    finally:
        connection.close()


class Load:
    """Clients that ask all the time, each request on a connection of its own."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self._port = port
        self._end = Event()
        self._pool = ThreadPoolExecutor(clients)
        self._running = [self._pool.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> tuple[Counter[str], list[str]]:
        answered: Counter[str] = Counter()
        failed: list[str] = []
        while not self._end.is_set():
            try:
                release, _, _ = ask(self._port)
                answered[release] += 1
            except (OSError, http.client.HTTPException) as problem:
                failed.append(repr(problem))
        return answered, failed

    def ends(self) -> Counter[str]:
        """Stop; return how many requests each release has answered. Fails if one was refused or got no answer."""
        self._end.set()
        total: Counter[str] = Counter()
        for running in self._running:
            answered, failed = running.result(WITHIN)
            assert not failed, failed[:3]
            total += answered
        self._pool.shutdown()
        return total


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_no_request_is_refused_in_a_deployment_a_rollback_and_while_there_is_no_supervisor(
    live: Live,
) -> None:
    port = free_port()
    first = code(live, "v1", f'"{HOST}:{port}"', probation="60s")
    second = code(live, "v2", f'"{HOST}:{port}"', probation="60s")
    up = live.up(first)
    load = Load(port)
    number = live.begin(second)
    live.phase(number, "probation")
    # The old leader is alive, and its server runs.
    assert {ask(port)[0] for _ in range(20)} == {"v2"}
    live.ask("rollback")
    live.ended(number)
    assert {ask(port)[0] for _ in range(20)} == {"v1"}
    up.kill()
    up.ends()
    assert ask(port)[0] == "v1"
    live.up(first)
    number = live.begin(second)
    live.phase(number, "probation")
    assert {ask(port)[0] for _ in range(20)} == {"v2"}
    answered = load.ends()
    assert min(answered["v1"], answered["v2"]) > 0
    live.down()
    live.audit()
    with pytest.raises(ConnectionRefusedError):
        ask(port)
