"""Requests on one ROUTER socket: one JSON or msgpack object in, and one out, in the encoding of the request.

Each request is carried out in a task of its own, so a slow one does not delay the others. The input is untrusted: a
frame past the limit is not even read (its sender is disconnected), and anything else that is not a request gets an
error as its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import zmq

from ...protocol.commands import (
    MAX_REQUEST,
    Answer,
    BadRequest,
    Command,
    Fault,
    decode_command,
    encode_answer,
)
from .zmq_socket import EncryptedSocket, ZmqSocket

__all__ = ["LOOKED_AT", "RequestSocket", "bound_events", "bound_requests"]

LOOKED_AT = 4 * MAX_REQUEST
"""A request that is a little too large is worth an answer; a far larger one is not worth its memory."""
_MOST_WAITING = 256
_MOST_UNREAD = 64
"""Requests of one client that are read ahead; then the client has to wait."""
_LONGEST_SUBSCRIPTION = 4096
"""Bytes. A topic has a few dozen; the messages of a handshake, which count too, a few hundred."""
_FINISH_S = 1.0


def bound_requests(socket: zmq.Socket[bytes]) -> None:
    """Bound what one client can make this ROUTER hold: requests, and answers that it does not read."""
    socket.setsockopt(zmq.MAXMSGSIZE, LOOKED_AT)
    socket.setsockopt(zmq.RCVHWM, _MOST_UNREAD)
    socket.setsockopt(zmq.SNDHWM, _MOST_WAITING)


def bound_events(socket: zmq.Socket[bytes], events: int) -> None:
    """Bound what one subscriber can make this PUB hold: its subscriptions, and so many events that it does not read.

    An event is held once for all subscribers.
    """
    socket.setsockopt(zmq.MAXMSGSIZE, _LONGEST_SUBSCRIPTION)
    socket.setsockopt(zmq.SNDHWM, events)


class RequestSocket:
    """Hands each command that comes on `socket` to `carry_out`, which must not raise, with the name of its sender.

    Senders have names when the socket is `guarded` by keys, and are "" otherwise.
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
        """Answer what has been asked so far."""
        self._box.drain()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_FINISH_S)
            for task in late:
                task.cancel()

    def close(self, linger: int) -> None:
        self._box.close(linger)

    def _received(self, frames: list[bytes], name: str) -> None:
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
        task = asyncio.get_running_loop().create_task(self._serve(route, packed, command, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, route: list[bytes], packed: bool, command: Command, name: str) -> None:
        self._answer(route, packed, await self._carry_out(command, name))

    def _refuse(self, route: list[bytes], packed: bool, problem: BadRequest) -> None:
        self._answer(route, packed, Answer(problem.id, "error", error=Fault("bad-request", problem.message)))

    def _answer(self, route: list[bytes], packed: bool, answer: Answer) -> None:
        self._box.send([*route, encode_answer(answer, packed=packed)])
