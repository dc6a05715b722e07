"""The referee: the demo's exchange with its ledger, behind a Unix socket. So the kernel identifies each order's sender.

The process that requests an order is compared with the holder of the lease; the kernel names both. Everything else is
judged afterwards, from the ledger and the journal (`verdict`).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import socket
import struct
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

import msgspec

from neverblink.protocol.lease import OFD_GETLK, lock_owner, lock_query
from neverblink.supervisor.demo.ledger import DuplicateId, Filled, Ledger, Reserved
from neverblink.supervisor.system.process import doing

__all__ = ["ACCOUNT", "TIMEFRAMES", "Market", "OrderRequest", "holder"]

ACCOUNT = "chaos"
TIMEFRAMES = {"c": 100_000_000}
"""The contracts' periods, as the bot has them."""

_LATENCY = (0.0005, 0.002)
_FILL_AFTER = (0.002, 0.025)
_DIES_WITHIN = 2.0


class OrderRequest(msgspec.Struct, frozen=True):
    """A request for an order, and the process that sent it."""

    client_id: str
    pid: int
    at: int


class Market:
    """Trades until it is closed, in a thread of its own. `lease` is the file that the kernel is asked about."""

    def __init__(self, path: Path, lease: Path, seed: int, file: IO[bytes] | None = None) -> None:
        self.ledger = Ledger(file)
        self.sent: list[OrderRequest] = []
        self.doubted: set[str] = set()
        """Client ids that a bot asked about because they were in doubt."""
        self._fence = 0
        """The highest epoch seen: late requests of an older one are refused."""
        self.unleased: list[str] = []
        """Orders that a live process requested without having the lease."""
        self._path = path
        self._lease = lease
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[Any]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._listens = Event()
        self._thread = Thread(target=self._run, name="exchange")
        self._thread.start()
        self._listens.wait()

    def hang_up(self) -> None:
        """Close every connection at once; requests that were not begun are dropped."""
        self._loop.call_soon_threadsafe(self._hang_up)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._serve_one, self._path)
        self._listens.set()
        async with server:
            await self._stopping.wait()
            self._hang_up()
            for task in self._background:
                task.cancel()
            await asyncio.sleep(0)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[writer] = task
        pid = _peer(writer.get_extra_info("socket"))
        try:
            for fill in self.ledger.fills(ACCOUNT):
                _tell(writer, _shown(fill))
            while line := await reader.readline():
                asked = msgspec.json.decode(line)
                answer = await self._answer(pid, asked)
                _tell(writer, {"n": asked["n"], **answer})
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.pop(writer, None)
            writer.close()

    async def _answer(self, pid: int, asked: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(self._chance.uniform(*_LATENCY))
        match asked["do"]:
            case "reserve":
                return self._reserve(pid, asked["id"], asked["contract"])
            case "confirm":
                order = self.ledger.order(asked["order"])
                self._note(pid, order.client_id)
                if self.ledger.confirm(order.order, time.time_ns()):
                    self._start(self._fill(order))
                return {"order": order.order}
            case _:
                if asked["fence"]:
                    self._fence = max(self._fence, _epoch(asked["fence"]))
                    self.doubted.add(asked["id"])
                with suppress(Exception):
                    return {"order": self.ledger.of_client(ACCOUNT, asked["id"]).order}
                return {"order": ""}

    def _reserve(self, pid: int, client_id: str, contract: str) -> dict[str, Any]:
        self._note(pid, client_id)
        if _epoch(client_id) < self._fence:
            self.ledger.refuse(ACCOUNT, client_id, "its epoch is over", time.time_ns())
            return {"order": ""}
        try:
            order = self.ledger.reserve(
                at=time.time_ns(), account=ACCOUNT, client_id=client_id, contract=contract, side="buy",
                direction="up", size=self._chance.randrange(1, 4), price=0.5,
            )  # fmt: skip
        except DuplicateId as problem:
            return {"order": problem.order}
        return {"order": order.order}

    async def _fill(self, order: Reserved) -> None:
        for size in (1,) * order.size:
            await asyncio.sleep(self._chance.uniform(*_FILL_AFTER))
            fill = self.ledger.fill(order, size, time.time_ns())
            for writer in list(self._connections):
                _tell(writer, _shown(fill))

    def _note(self, pid: int, client_id: str) -> None:
        """Record the requesting process, and check that it has the lease."""
        self.sent.append(OrderRequest(client_id, pid, time.time_ns()))
        leads = holder(self._lease)
        if leads != pid:
            self._start(self._dies(pid, client_id, leads))

    async def _dies(self, pid: int, client_id: str, leads: int) -> None:
        """A process that dies after its request sent it in time. A live one without the lease is a violation."""
        until = time.monotonic() + _DIES_WITHIN
        while (seen := doing(pid)) is not None and seen.state not in "ZX":
            if time.monotonic() > until:
                self.unleased.append(f"order {client_id} by pid {pid}, while pid {leads} had the lease")
                return
            await asyncio.sleep(0.01)

    def _hang_up(self) -> None:
        for writer, task in list(self._connections.items()):
            task.cancel()
            writer.transport.abort()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _epoch(client_id: str) -> int:
    return int(client_id.partition("-")[0])


def _tell(writer: asyncio.StreamWriter, what: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(msgspec.json.encode(what) + b"\n")


def _shown(fill: Filled) -> dict[str, Any]:
    return {"fill": fill.fill, "size": fill.size}


def _peer(connection: socket.socket) -> int:
    """The process at the other end, according to the kernel."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[0]


def holder(lease: Path) -> int:
    """The process that has the lease, according to the kernel; 0 when it is free."""
    try:
        file = os.open(lease, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return lock_owner(fcntl.fcntl(file, OFD_GETLK, lock_query())) or 0
    finally:
        os.close(file)
