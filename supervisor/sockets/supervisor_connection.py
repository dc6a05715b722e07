"""The client's end of the supervisor's two sockets: where a supervisor listens, requests with answers, and events.

A supervisor listens in a home on this machine (`InHome`), where the kernel knows whether it runs, or behind a TCP
address with a key (`OnServer`), where the kind of a failed handshake shows the mend. The synchronous client, the web
process and the TCP relay all connect, number their requests and read answers here.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from ...protocol.commands import (
    EVENT_SOCKET,
    REQUEST_SOCKET,
    Answer,
    BadRequest,
    Command,
    decode_answer,
    encode_command,
)
from ...protocol.errors import NeverblinkError
from ..store.living_workers import alive_in, named
from ..store.orphans import HomeOrphaned, orphans
from ..store.state_dir import Home
from ..system.permissions import user_name
from ..system.process import is_stopped
from .client_keys import AccessError, ClientKey
from .zmq_socket import ZmqSocket

__all__ = [
    "AsyncRequests",
    "Endpoint",
    "InHome",
    "OnServer",
    "RequestNotSent",
    "Unreachable",
    "decode_reply",
    "encode_request",
    "event_socket",
    "request_socket",
]

_SERVER = re.compile(r"(?:tcp://)?(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_CUT_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_LET_IN = zmq.EVENT_HANDSHAKE_SUCCEEDED
_CONNECTED = zmq.EVENT_CONNECTED
_ENOUGH = 2
_EVENT_QUEUE = 20_000
_RECONNECT_MS = 50


class Unreachable(NeverblinkError):
    """No answer from `where`; `pid` is the supervisor's if it runs, else 0."""

    def __init__(self, where: str, problem: str, pid: int = 0) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.pid = pid


class Endpoint(Protocol):
    """Where a supervisor listens."""

    def supervisor(self) -> int:
        """The supervisor's pid, 0 when it cannot be known. Raises `Unreachable` when none runs."""
        ...

    def connect(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Connect to the socket of this name: see `protocol.commands`."""
        ...

    def silent(self, within: float, pid: int, *, connected: bool = True) -> Unreachable:
        """The error for no answer, or no connection, within `within` seconds."""
        ...

    def close(self) -> None: ...


class InHome:
    """A home on this machine."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._where = f"home {home.path}"
        self._sockets = home.sockets()

    def supervisor(self) -> int:
        path = self._home.path
        owner = self._home.owner()
        if owner is not None:
            return owner.pid
        if path.exists() and not os.access(path, os.X_OK):
            them = user_name(path.stat().st_uid)
            raise Unreachable(self._where, f"it belongs to {them}, and is closed to others: ask as {them}")
        problem = "no supervisor runs here" if path.is_dir() else "there is no such home"
        found = alive_in(self._home)
        if found:
            raise Unreachable(
                self._where,
                f"{problem}, and the bot is alive without one: {named(found)}. `neverblink up` adopts it, and "
                "the bot goes on as it runs",
            )
        if lost := orphans(self._home):
            raise Unreachable(self._where, HomeOrphaned(self._home, lost).problem)
        raise Unreachable(self._where, f"{problem}: start it with `neverblink up`, or name another --home")

    def connect(self, socket: zmq.Socket[bytes], name: str) -> None:
        socket.connect(self._sockets.endpoint(name))

    def silent(self, within: float, pid: int, *, connected: bool = True) -> Unreachable:
        if is_stopped(pid):
            problem = f"is stopped (by Ctrl-Z?), and the bot goes on without it: `kill -CONT {pid}` wakes it"
        elif not connected:
            problem = (
                f"can't be connected to in {within:g}s, by its sockets in {self._home.run}: it makes them again when "
                "they were removed, so try again; the bot goes on"
            )
        else:
            problem = (
                f"has not answered in {within:g}s, and the bot goes on without it. Should it hang, `kill -KILL {pid}` "
                "ends it alone, where a plain `kill` would stop the bot, and `neverblink up` comes back to the bot"
            )
        return Unreachable(self._where, f"the supervisor (pid {pid}) {problem}", pid)

    def close(self) -> None:
        self._sockets.close()


class OnServer:
    """A server that listens on TCP, reached with the key in `file`. Raises `AccessError`."""

    def __init__(self, server: str, file: Path) -> None:
        found = _SERVER.fullmatch(server)
        if found is None or not 0 < int(found["port"]) < 65535:
            raise AccessError(f"server {server!r}: expected tcp://HOST:PORT, as in tcp://bots.example:7777")
        self._host, self._port = found["host"], int(found["port"])
        self._where = f"tcp://{self._host}:{self._port}"
        self._key = ClientKey.read(file)
        self._file = file
        self._watched: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._connected = False
        self._failures = 0

    def supervisor(self) -> int:
        refused = False
        while self._monitor is not None and self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())["event"]
            refused = refused or bool(event & _REFUSED)
            self._connected = self._connected or bool(event & _CONNECTED)
            self._failures = 0 if event & _LET_IN else self._failures + bool(event & _CUT_OFF)
        if refused:
            raise Unreachable(
                self._where,
                f"key {self._key.name!r} is not let in: have it added there with "
                f"`neverblink keys add {self._key.name} {self._key.public.hex()}`",
            )
        if self._failures >= _ENOUGH:
            raise Unreachable(
                self._where,
                f"what listens there is not the server that {self._file} is for: `neverblink keys` there shows its key",
            )
        return 0

    def connect(self, socket: zmq.Socket[bytes], name: str) -> None:
        port = self._port if name == REQUEST_SOCKET else self._port + 1
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._key.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._key.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._key.secret)
        socket.setsockopt(zmq.IPV6, int(self._host.startswith("[")))
        if name == REQUEST_SOCKET:
            self._forget()
            self._watched = socket
            self._monitor = socket.get_monitor_socket(_REFUSED | _CUT_OFF | _LET_IN | _CONNECTED)
        socket.connect(f"tcp://{self._host}:{port}")

    def silent(self, within: float, pid: int, *, connected: bool = True) -> Unreachable:
        if not self._connected:
            problem = f"no answer within {within:g}s: nothing listens there, or a firewall is in between"
            return Unreachable(self._where, problem)
        return Unreachable(self._where, f"the supervisor has not answered in {within:g}s: look at it there")

    def close(self) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._watched is not None and not self._watched.closed:
            with suppress(zmq.ZMQError):
                self._watched.disable_monitor()
        if self._monitor is not None:
            self._monitor.close(0)
        self._watched = self._monitor = None
        self._connected = False
        self._failures = 0


class RequestNotSent(Exception):
    """The supervisor cannot be reached, or its queue is full."""


def request_socket(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint, *, immediate: bool = False
) -> zmq.Socket[bytes]:
    """A socket for requests, connected to `endpoint`.

    A DEALER and not a REQ, so that the id distinguishes a late answer from the next one. `immediate`: queue nothing
    for a supervisor that cannot be reached.
    """
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    if immediate:
        socket.setsockopt(zmq.IMMEDIATE, 1)
    else:
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    endpoint.connect(socket, REQUEST_SOCKET)
    return socket


def event_socket(
    context: zmq.Context[zmq.Socket[bytes]],
    endpoint: Endpoint,
    queue: int = _EVENT_QUEUE,
    *,
    handshake_within_ms: int = 0,
) -> zmq.Socket[bytes]:
    """A socket that receives every event, connected to `endpoint`. Keeps up to `queue` unread events.

    Waits up to `handshake_within_ms` for the connection, so that the subscription arrives before any request. A PUB
    socket sends nothing to subscribers whose subscription it has not read.
    """
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RCVHWM, queue)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) if handshake_within_ms else None
    endpoint.connect(socket, EVENT_SOCKET)
    if monitor is not None:
        if monitor.poll(handshake_within_ms):
            monitor.recv_multipart()
        socket.disable_monitor()
        monitor.close(0)
    return socket


def encode_request(command: Command, id: str, who: str = "") -> bytes:
    """Encode `command` with its id, and with `who` as its sender unless it names one."""
    return encode_command(msgspec.structs.replace(command, id=id, who=command.who or who))


def decode_reply(frames: list[bytes]) -> Answer | None:
    """The answer in a message, None for anything else. A ROUTER may answer with or without an empty frame."""
    try:
        return decode_answer(frames[-1])
    except BadRequest:
        # Its request is not known. The caller that waits for it gets a time-out.
        return None


class AsyncRequests:
    """Sends requests to `endpoint` and awaits their answers. Create it on the loop, and close it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint) -> None:
        self._ids = map(str, itertools.count(1))
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._socket = ZmqSocket(request_socket(context, endpoint), self._receive)

    @property
    def pending(self) -> int:
        """How many requests have no answer yet."""
        return len(self._waiting)

    async def ask(self, command: Command, within: float | None = None) -> Answer:
        """The answer to `command`, with the id that `command` has.

        Raises `RequestNotSent`, and `TimeoutError` after `within` seconds; None waits for as long as it takes.
        """
        id = next(self._ids)
        answer = self._waiting[id] = asyncio.get_running_loop().create_future()
        try:
            if not self._socket.send([encode_request(command, id)]):
                raise RequestNotSent
            async with asyncio.timeout(within):
                return msgspec.structs.replace(await answer, id=command.id)
        finally:
            del self._waiting[id]

    def close(self) -> None:
        self._socket.close()

    def _receive(self, frames: list[bytes]) -> None:
        answer = decode_reply(frames)
        waiting = self._waiting.get(answer.id) if answer is not None else None
        if answer is not None and waiting is not None and not waiting.done():
            waiting.set_result(answer)
