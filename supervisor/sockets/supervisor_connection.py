"""The client's end of the supervisor's two sockets: requests with their answers, and events.

The synchronous client, the web process and the TCP relay all connect, number their requests and read answers here.
"""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import zmq

from ...protocol.commands import (
    EVENT_SOCKET,
    REQUEST_SOCKET,
    Answer,
    BadRequest,
    Command,
    decode_answer,
    encode_command,
)
from .endpoints import Endpoint
from .zmq_socket import ZmqSocket

__all__ = [
    "AsyncRequests",
    "RequestNotSent",
    "decode_reply",
    "encode_request",
    "event_socket",
    "request_socket",
]

_EVENT_QUEUE = 20_000
_RECONNECT_MS = 50


class RequestNotSent(Exception):
    """The supervisor cannot be reached, or its queue is full."""


def request_socket(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint, *, immediate: bool = False
) -> zmq.Socket[bytes]:
    """A socket for requests, connected to `endpoint`.

    A DEALER and not a REQ, so that an answer that comes too late is told from the next one by its id. `immediate`:
    queue nothing for a supervisor that cannot be reached.
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
    """A socket that receives every event, connected to `endpoint`. Keeps up to `queue` unread ones.

    Waits up to `handshake_within_ms` for the connection: after that the subscription is on its way ahead of any
    request. A PUB socket sends nothing to subscribers whose subscription it has not read.
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
    """`command` with its id, and `who` as its sender unless it names one."""
    return encode_command(msgspec.structs.replace(command, id=id, who=command.who or who))


def decode_reply(frames: list[bytes]) -> Answer | None:
    """The answer in a message; None for anything else. A bare ROUTER may answer with or without an empty frame."""
    try:
        return decode_answer(frames[-1])
    except BadRequest:
        # It cannot be known whose answer it was; the one who waits for it meets the time-out.
        return None


class AsyncRequests:
    """Sends requests to `endpoint` and awaits their answers. Make it on the loop, and close it."""

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
