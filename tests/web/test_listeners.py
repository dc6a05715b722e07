"""Many listeners, slow ones, and one that never reads: bounded, dropped, and none of the bot's business."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import Callable, Generator, Iterator

import pytest
from aiohttp import web

from neverblink.supervisor.web.limits import ConnectionLimits
from tests.ports import HOST
from tests.whole.live import WITHIN

from .crowd import Crowd
from .served import Served


@contextlib.contextmanager
def crowd(served: Served) -> Generator[Crowd]:
    here = Crowd(served.port, served.tokens["viewer"])
    try:
        yield here
    finally:
        here.close()


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """Two hundred connections are more files than some shells allow."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def number(served: Served, name: str) -> float:
    text = served.ask("GET", "/metrics", role="viewer").body.decode()
    return float(
        next(line for line in text.splitlines() if line.startswith(f"neverblink_{name}{{")).split()[-1]
    )


def until(condition: Callable[[], bool], served: Served) -> None:
    end = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < end, served.log()
        time.sleep(0.1)


@pytest.mark.deep
def test_two_hundred_listeners_are_served_beside_some_that_do_not_read(served: Served) -> None:
    memory = number(served, "http_memory_bytes")
    gone = number(served, "http_streams_dropped_total")
    with crowd(served) as here:
        here.come(256)
        until(lambda: number(served, "http_streams") == 256, served)
        answer = served.ask("GET", "/api/events", role="viewer")
        assert (answer.status, answer.code) == (429, "too-many")
        reading, silent = here.wires[:200], here.wires[200:]
        # Large events, which fill the buffers of listeners that do not read.
        got = dict.fromkeys(reading, 0)
        for _ in range(10):
            served.do("lock", why="x" * 20_000)
            served.do("unlock")
            for wire, count in here.read(reading, time.monotonic() + 0.4).items():
                got[wire] += count
        assert min(got.values()) > 0

        def all_dropped() -> bool:
            here.read(reading, time.monotonic() + 0.3)
            return number(served, "http_streams_dropped_total") >= gone + len(silent)

        until(all_dropped, served)
        assert number(served, "http_streams") == len(reading)
        # 64 KiB each is more than is kept for any listener.
        assert number(served, "http_memory_bytes") - memory < 256 * 64 * 1024 + 16 * 1024 * 1024
        served.notes("dropped a listener of a-viewer: it has read nothing for 10s")
    until(lambda: number(served, "http_streams") == 0, served)
    served.live.audit()


def test_the_number_of_listeners_and_the_time_of_silence_are_bounded() -> None:
    async def test() -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        assert runner.server is not None
        door = ConnectionLimits(runner.server, most=5, first_request=0.5)
        listening = await asyncio.get_running_loop().create_server(door, HOST, 0, backlog=1)
        port = listening.sockets[0].getsockname()[1]
        come = [await asyncio.open_connection(HOST, port) for _ in range(8)]
        try:
            # All are cut off: the first three for the last three, the others after half a second of silence.
            ended = await asyncio.gather(*(_ended(reader) for reader, _ in come))
            assert ended == [True] * 8
            assert (door.displaced, door.turned_away) == (3, 0)
            assert runner.server.connections == []
        finally:
            for _, writer in come:
                writer.close()
            listening.close()
            await runner.cleanup()

    asyncio.run(test())


def test_connections_with_a_request_or_a_token_are_closed_last() -> None:
    async def test() -> None:
        release, arrived = asyncio.Event(), asyncio.Queue[str]()

        async def answer(request: web.Request) -> web.Response:
            door.begins(request.protocol)
            arrived.put_nowait(request.path)
            if request.path == "/busy":
                await release.wait()
            door.ends(request.protocol, trusted=request.path == "/trusted")
            return web.Response()

        app = web.Application()
        app.router.add_get("/{name}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        assert runner.server is not None
        door = ConnectionLimits(runner.server, most=4)
        listening = await asyncio.get_running_loop().create_server(door, HOST, 0)
        port = listening.sockets[0].getsockname()[1]
        writers: list[asyncio.StreamWriter] = []

        async def come(path: str = "") -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(HOST, port)
            writers.append(writer)
            if path:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert await arrived.get() == path
                if path != "/busy":
                    await reader.readuntil(b"\r\n\r\n")
            return reader

        async with asyncio.timeout(WITHIN):
            trusted, stranger = await come("/trusted"), await come("/stranger")
            busy = [await come("/busy"), await come("/busy")]
            busy.append(await come("/busy"))
            assert await _ended(stranger)
            assert not trusted.at_eof()
            busy.append(await come("/busy"))
            assert await _ended(trusted)
            assert await _ended(await come())
            assert (door.displaced, door.turned_away) == (2, 1)
            release.set()
            for reader in busy:
                assert b"200" in await reader.readuntil(b"\r\n\r\n")
            for writer in writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
            listening.close()
            await runner.cleanup()

    asyncio.run(test())


async def _ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(WITHIN):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True
