"""A bot's listening sockets: an HTTP server that goes through deployments, rollbacks, kills and new supervisors."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import pytest

from ..ports import HOST, free_port
from ..processes import wait_for_end
from .bots import COUNT, bot
from .live import WITHIN, Live, one_line

SERVER = """
    async def on_start(self):
        self.open = 0
        self.server = await asyncio.start_server(self.answer, sock=self.sockets["api"])

    async def answer(self, reader, writer):
        self.open += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\\r\\n\\r\\n")
            text = f"{release} {os.getpid()} {self.leading}".encode()
            head = f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(text)}\\r\\nConnection: close\\r\\n\\r\\n"
            writer.write(head.encode() + text)
            await writer.drain()
        writer.close()
        self.open -= 1

    async def on_retire(self):
        # Finish the requests that run.
        self.server.close()
        await asyncio.sleep(0.01)
        while self.open:
            await asyncio.sleep(0.01)
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
    """Clients that ask all the time, each request on a connection of its own, with a `pause` between two, s."""

    def __init__(self, port: int, clients: int = 4, pause: float = 0) -> None:
        self._port = port
        self._pause = pause
        self.answered: Counter[str] = Counter()
        """How many requests each release has answered, once it has stopped."""
        self._failed: list[str] = []
        self._times: list[float] = []
        self._end = Event()
        self._counting = Lock()
        self._pool = ThreadPoolExecutor(clients)
        self._running = [self._pool.submit(self._ask) for _ in range(clients)]

    def stop(self) -> None:
        self._end.set()
        for running in self._running:
            running.result(2 * WITHIN)
        self._pool.shutdown()

    def measured(self) -> tuple[int, int, list[float]]:
        """How many requests were refused, how many had no answer, and how long each took, sorted, s."""
        refused = sum("Refused" in problem for problem in self._failed)
        return refused, len(self._failed) - refused, sorted(self._times)

    def ends(self, *, killed: bool = False) -> Counter[str]:
        """Stop; return how many requests each release has answered. Fails if one was refused or got no answer.

        With `killed`, those that a killed process had accepted may have no answer.
        """
        self.stop()
        refused, cut, _ = self.measured()
        assert not refused, self._failed
        assert killed or not cut, self._failed
        return self.answered

    def _ask(self) -> None:
        answered: Counter[str] = Counter()
        while not self._end.wait(self._pause):
            began = time.monotonic()
            try:
                release, _, _ = ask(self._port)
                answered[release] += 1
                self._times.append(time.monotonic() - began)
            except (OSError, http.client.HTTPException) as problem:
                self._failed.append(repr(problem))
        for release, count in answered.items():
            with self._counting:
                self.answered[release] += count


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


def test_an_address_that_is_in_use_is_named_with_its_holder(live: Live) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        place = code(live, "v1", f'"{HOST}:{port}"')
        ended = live.run("up", "--project", place)
        said = one_line(ended)
        assert ended.code == 8
        assert f"socket api can't listen on {HOST}:{port}" in said
        assert f"in use by pid {os.getpid()}" in said


@pytest.mark.deep
def test_requests_wait_while_a_killed_bot_starts_again_and_are_answered_by_a_standby_at_once(
    live: Live,
) -> None:
    port = free_port()
    first = code(live, "v1", f'"{HOST}:{port}"')
    live.up(first)
    load = Load(port)
    _, leader, _ = ask(port)
    kill(leader)
    _, again, leads = ask(port)
    assert leads
    assert again != leader
    live.deploy(code(live, "v2", f'"{HOST}:{port}"', standby=1))
    live.status_with(lambda status: status["standby"]["state"] == "ready")
    # The standby's server runs, and has not answered.
    assert len({ask(port)[1] for _ in range(20)}) == 1
    load.ends(killed=True)
    _, leader, _ = ask(port)
    kill(leader)
    assert ask(port)[1] != leader
    live.down()


@pytest.mark.deep
def test_a_changed_address_is_bound_at_the_deployment_and_the_old_one_closed_after_the_probation(
    live: Live,
) -> None:
    before, after = free_port(), free_port()
    live.up(code(live, "v1", f'"{HOST}:{before}"'))
    second = code(live, "v2", f'"{HOST}:{after}"', probation="60s")
    number = live.begin(second)
    live.phase(number, "probation")
    assert ask(after)[0] == "v2"
    with socket.create_connection((HOST, before), WITHIN):
        # Both are open, because the old worker may lead again.
        live.ask("rollback")
        live.ended(number)
    assert ask(before)[0] == "v1"
    until(lambda: refused(after))
    live.deploy(code(live, "v3", f'"{HOST}:{after}"'))
    assert ask(after)[0] == "v3"
    until(lambda: refused(before))
    with socket.create_server((HOST, before)):
        number = live.begin(code(live, "v4", f'"{HOST}:{before}"'))
        ended = live.ended(number)
        assert ended["outcome"] == "aborted"
        assert f"socket api can't listen on {HOST}:{before}" in ended["reason"]
    assert ask(after)[0] == "v3"
    live.down()


@pytest.mark.deep
def test_unix_sockets_and_free_ports_go_through_a_supervisor_that_leaves(live: Live) -> None:
    path = live.tmp / "api.sock"
    handlers = SERVER.replace(
        "async def on_start(self):",
        "async def on_start(self):\n"
        '        await asyncio.start_unix_server(self.answer, sock=self.sockets["local"])\n'
        "        say(f\"port {self.sockets.address('api')}\")",
    )
    first = code(live, "v1", f'"{HOST}:0"\nlocal = {{ address = "unix:{path}", mode = "0640" }}', handlers)
    up = live.up(first)
    [address] = live.prints("port")
    port = int(address.rpartition(":")[2])
    assert ask(port)[0] == "v1"
    assert path.stat().st_mode & 0o777 == 0o640
    up.kill()
    up.ends()
    live.up(first)
    live.deploy(
        code(live, "v2", f'"{HOST}:0"\nlocal = {{ address = "unix:{path}", mode = "0640" }}', handlers)
    )
    assert live.prints("port")[-1].endswith(f":{port}")
    assert ask(port)[0] == "v2"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WITHIN)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"v2" in client.recv(1000)
    live.down()
    assert not path.exists()


def kill(pid: int) -> None:
    """Kill a process, and wait for its end: until then it may accept a connection."""
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)


def refused(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.deep
def test_a_check_names_what_a_deployment_would_bind_and_close_and_accepts_no_connection(live: Live) -> None:
    before, after, shared = free_port(), free_port(), free_port()
    everyone = f'all = {{ address = "{HOST}:{shared}", accept = "all" }}'
    handlers = SERVER.replace(
        "async def on_start(self):",
        "async def on_start(self):\n        await asyncio.start_server(self.answer, sock=self.sockets['all'])",
    )
    live.up(code(live, "v1", f'"{HOST}:{before}"\n{everyone}', handlers))
    second = code(
        live, "v2", f'"{HOST}:{after}"\n{everyone}', handlers.replace("open = 0", "open = 0; time.sleep(1)")
    )
    checking = live.start("check", second)
    while checking.running:
        assert ask(shared)[0] == "v1"
    checked = checking.ends()
    assert checked.code == 0, checked
    assert f"a deployment binds {HOST}:{after} before its worker starts" in checked.out
    assert f"{HOST}:{before} is closed after the probation" in checked.out
    until(lambda: refused(after))
    assert ask(before)[0] == "v1"
    assert [seen["name"] for seen in live.status()["sockets"]] == ["api", "all"]
    live.down()
