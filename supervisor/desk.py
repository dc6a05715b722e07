"""The desk: where operators and programs ask, and where they listen.

Requests come to a ROUTER, one JSON or msgpack object in and one out, in the language it was asked in; REQ and DEALER
clients are served alike. Each is carried out in a task of its own, so one that takes long keeps nobody waiting. Events
go out on a PUB. What comes in is untrusted: a frame past the limit is not even read (its sender is cut off), anything
else that is no request gets an error for an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import zmq

from ..protocol.commands import (
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
from ..protocol.events import Event, encode_event, topic_of
from .home import Sockets
from .postbox import Postbox

__all__ = ["Desk"]

_LOOKED_AT = 4 * MAX_REQUEST
"""A request that is a little too large is worth an answer; a far larger one is not worth its memory."""
_MOST_WAITING = 256
_EVENT_QUEUE = 100_000
_LINGER_MS = 1000
_FINISH_S = 1.0


class Desk:
    """Binds the two sockets; hands each command to `carry_out`, which must not raise. Raises zmq.ZMQError."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        sockets: Sockets,
        carry_out: Callable[[Command], Awaitable[Answer]],
    ) -> None:
        self._carry_out = carry_out
        self._tasks: set[asyncio.Task[None]] = set()
        requests = context.socket(zmq.ROUTER)
        events = context.socket(zmq.PUB)
        try:
            requests.setsockopt(zmq.MAXMSGSIZE, _LOOKED_AT)
            requests.setsockopt(zmq.ROUTER_HANDOVER, 1)
            requests.bind(sockets.endpoint(REQUEST_SOCKET))
            events.setsockopt(zmq.SNDHWM, _EVENT_QUEUE)
            # What subscribers send are subscriptions.
            events.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST)
            events.bind(sockets.endpoint(EVENT_SOCKET))
        except zmq.ZMQError:
            requests.close(0)
            events.close(0)
            raise
        self._requests = Postbox(requests, self._received)
        self._events = events

    def publish(self, event: Event) -> None:
        """Send the event to everyone who listens. Never waits; who is too slow misses some."""
        self._events.send_multipart([topic_of(event), encode_event(event)], zmq.NOBLOCK)

    async def close(self) -> None:
        """Answer what has been asked so far, then close both sockets; what was sent last still goes out."""
        self._requests.drain()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_FINISH_S)
            for task in late:
                task.cancel()
        self._requests.close(_LINGER_MS)
        self._events.close(_LINGER_MS)

    def _received(self, frames: list[bytes]) -> None:
        # A REQ client puts an empty frame in front of its request, a DEALER does not; each is answered in its way.
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
        task = asyncio.get_running_loop().create_task(self._serve(route, packed, command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, route: list[bytes], packed: bool, command: Command) -> None:
        self._answer(route, packed, await self._carry_out(command))

    def _refuse(self, route: list[bytes], packed: bool, problem: BadRequest) -> None:
        self._answer(route, packed, Answer(problem.id, "error", error=Fault("bad-request", problem.message)))

    def _answer(self, route: list[bytes], packed: bool, answer: Answer) -> None:
        encoded = msgspec.msgpack.encode(answer) if packed else encode_answer(answer)
        self._requests.send([*route, encoded])
