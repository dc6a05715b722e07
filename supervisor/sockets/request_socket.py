"""The sockets on which operators and programs send requests and receive events.

A request comes to a ROUTER, which serves REQ and DEALER clients alike: one JSON or msgpack object in, and one out, in
the encoding of the request. Events go out on a PUB. `Listeners` binds both as unix sockets in the home, for its user;
`tcp_listener` binds both on TCP.

Each request is carried out in a task of its own, so a slow one does not delay the others. The input is untrusted: a
frame over the limit is not read (its sender is disconnected), and anything else that is not a request gets an error as
its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import zmq

from ...protocol.commands import (
    EVENT_SOCKET,
    MAX_REQUEST,
    REQUEST_SOCKET,
    Answer,
    BadRequest,
    Command,
    Fault,
    decode_command,
    encode_answer,
)
from ...protocol.events import Event, encode_event, topic_of
from .bindings import Bindings
from .zmq_socket import EncryptedSocket, ZmqSocket

__all__ = ["LOOKED_AT", "Listeners", "RequestSocket", "limit_events", "limit_requests"]

LOOKED_AT = 4 * MAX_REQUEST
"""A request slightly over the limit gets an answer; a far larger one is not read."""
_MOST_WAITING = 256
_MOST_UNREAD = 64
"""How many requests of one client are read ahead."""
_LONGEST_SUBSCRIPTION = 4096
"""Bytes. A topic has a few dozen; handshake messages, which count too, have a few hundred."""
_FINISH_S = 1.0
_EVENT_QUEUE = 100_000
_LINGER_MS = 1000


def limit_requests(socket: zmq.Socket[bytes]) -> None:
    """Limit the memory that one client can take in this ROUTER: requests, and unread answers."""
    socket.setsockopt(zmq.MAXMSGSIZE, LOOKED_AT)
    socket.setsockopt(zmq.RCVHWM, _MOST_UNREAD)
    socket.setsockopt(zmq.SNDHWM, _MOST_WAITING)


def limit_events(socket: zmq.Socket[bytes], events: int) -> None:
    """Limit the memory that one subscriber can take in this PUB: its subscriptions, and unread `events`.

    An event is stored once for all subscribers.
    """
    socket.setsockopt(zmq.MAXMSGSIZE, _LONGEST_SUBSCRIPTION)
    socket.setsockopt(zmq.SNDHWM, events)


class RequestSocket:
    """Passes each command from `socket` to `carry_out`, which must not raise, with the name of its sender.

    Senders have names when the socket is `guarded` by keys; otherwise the name is "".
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        carry_out: Callable[[Command, str], Awaitable[Answer]],
        *,
        guarded: bool = False,
    ) -> None:
        self._carry_out = carry_out
        self._tasks: set[asyncio.Task[None]] = set()
        self._box: ZmqSocket = (
            EncryptedSocket(socket, self._received)
            if guarded
            else ZmqSocket(socket, lambda frames: self._received(frames, ""))
        )

    async def finish(self) -> None:
        """Answer the requests received so far."""
        self._box.drain()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_FINISH_S)
            for task in late:
                task.cancel()

    def close(self, linger: int) -> None:
        self._box.close(linger)

    def _received(self, frames: list[bytes], name: str) -> None:
        # A REQ client sends an empty frame before its request, a DEALER does not. Answer in the same way.
        route, body = (
            (frames[:2], frames[2:]) if len(frames) > 2 and not frames[1] else (frames[:1], frames[1:])
        )
        if len(body) != 1:
            self._refuse(route, False, BadRequest(f"{len(body)} frames: expected one, with one JSON object"))
            return
        packed = body[0][:1] not in (b"{", b" ", b"\n", b"\t", b"\r")
        try:
            command = decode_command(body[0])
        except BadRequest as problem:
            self._refuse(route, False, problem)
            return
        if len(self._tasks) >= _MOST_WAITING:
            fault = Fault("busy", f"{_MOST_WAITING} requests are waiting for their answers: ask again later")
            self._answer(route, packed, Answer(command.id, "error", error=fault))
            return
        task = asyncio.get_running_loop().create_task(self._serve(route, packed, command, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, route: list[bytes], packed: bool, command: Command, name: str) -> None:
        self._answer(route, packed, await self._carry_out(command, name))

    def _refuse(self, route: list[bytes], packed: bool, problem: BadRequest) -> None:
        self._answer(route, packed, Answer(problem.id, "error", error=Fault("bad-request", problem.message)))

    def _answer(self, route: list[bytes], packed: bool, answer: Answer) -> None:
        self._box.send([*route, encode_answer(answer, packed=packed)])


class Listeners:
    """Binds the two sockets in the home; passes each command to `carry_out`, which must not raise.

    Raises `zmq.ZMQError`.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        bindings: Bindings,
        carry_out: Callable[[Command], Awaitable[Answer]],
    ) -> None:
        requests = context.socket(zmq.ROUTER)
        events = context.socket(zmq.PUB)
        try:
            limit_requests(requests)
            requests.setsockopt(zmq.ROUTER_HANDOVER, 1)
            bindings.bind(requests, REQUEST_SOCKET)
            limit_events(events, _EVENT_QUEUE)
            bindings.bind(events, EVENT_SOCKET)
        except zmq.ZMQError:
            requests.close(0)
            events.close(0)
            raise
        self._requests = RequestSocket(requests, lambda command, _: carry_out(command))
        self._events = events

    def publish(self, event: Event) -> None:
        """Send the event to all subscribers. Never waits; a slow subscriber misses some."""
        parts = [topic_of(event), encode_event(event)]
        self._events.send_multipart(parts, zmq.NOBLOCK)

    async def close(self) -> None:
        """Answer the requests received so far, then close both sockets. The last messages are still sent."""
        await self._requests.finish()
        self._requests.close(_LINGER_MS)
        self._events.close(_LINGER_MS)
