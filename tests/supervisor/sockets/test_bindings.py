"""The supervisor's unix sockets: they accept no connection while hardly any descriptors are left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from neverblink.supervisor.sockets.bindings import Bindings, room_within
from neverblink.supervisor.store.state_dir import Sockets

WITHIN = 10.0


LIMIT = 1024
ROOM = room_within(LIMIT)


@pytest.fixture
def router() -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context[zmq.Socket[bytes]]()
    with context.socket(zmq.ROUTER) as made:
        yield made
    context.destroy(linger=0)


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(path))
        except OSError:
            return False
        return True


class Descriptors:
    """Reports how many are left, and can be awaited."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._looked = asyncio.Event()

    def __call__(self) -> int:
        self._looked.set()
        return self.free

    async def becomes(self, free: int) -> None:
        """Set how many are left, and wait until that has been handled."""
        self.free = free
        for _ in range(2):
            self._looked.clear()
            await asyncio.wait_for(self._looked.wait(), WITHIN)


def test_clients_and_finally_workers_cannot_connect_when_descriptors_run_out(
    router: zmq.Socket[bytes], tmp_path: Path
) -> None:
    log = list[str]()
    path = tmp_path / "requests.sock"
    context = zmq.Context[zmq.Socket[bytes]]()
    other = context.socket(zmq.ROUTER)

    async def play() -> None:
        descriptors = Descriptors(ROOM)
        with Sockets(tmp_path) as sockets:
            bindings = Bindings(sockets)
            bindings.bind(router, "requests.sock")
            bindings.keep_room(log.append, descriptors, lambda: LIMIT)
            workers = tmp_path / "supervisor.sock"
            bindings.bind(other, "supervisor.sock", for_workers=True)
            assert connects(path)
            await descriptors.becomes(ROOM - 1)
            assert f"only {ROOM - 1} file descriptors are left" in log[0]
            assert not connects(path)
            # A worker that is started while a crowd is connected must reach its supervisor.
            assert connects(workers)
            await descriptors.becomes(15)
            assert not connects(workers)
            await descriptors.becomes(ROOM - 1)
            assert connects(workers)
            # A closed socket is not mistaken for a removed one.
            assert bindings.restore() == []
            # A few more free descriptors are not enough to accept clients again.
            await descriptors.becomes(ROOM + 1)
            assert not connects(path)
            await descriptors.becomes(2 * ROOM)
            assert connects(path)
            assert len(log) == 4
            assert bindings.restore() == []
            bindings.close()

    try:
        asyncio.run(play())
    finally:
        context.destroy(linger=0)


def test_a_removed_socket_is_bound_again(router: zmq.Socket[bytes], tmp_path: Path) -> None:
    log = list[str]()

    async def play() -> None:
        descriptors = Descriptors(0)
        with Sockets(tmp_path) as sockets:
            bindings = Bindings(sockets)
            bindings.bind(router, "requests.sock")
            bindings.keep_room(log.append, descriptors, lambda: LIMIT)
            for path in tmp_path.iterdir():
                path.unlink()
            await descriptors.becomes(2 * ROOM)
            assert bindings.restore() == ["requests.sock"]
            assert connects(tmp_path / "requests.sock")
            bindings.close()

    asyncio.run(play())
