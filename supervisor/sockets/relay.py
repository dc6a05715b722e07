"""The relay: what came over TCP goes on to the supervisor's own sockets, and the answers come back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import msgspec
import zmq

from ...protocol.commands import (
    EVENT_SOCKET,
    REQUEST_SOCKET,
    Answer,
    BadRequest,
    Command,
    Fault,
    decode_answer,
    encode_command,
)
from ..store.state_dir import Home
from .endpoints import InHome
from .zmq_socket import ZmqSocket

__all__ = ["Relay"]

_EVENT_QUEUE = 20_000
_RECONNECT_MS = 50


class Relay:
    """Speaks to the supervisor of `home`. To be made on the loop, and closed."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], home: Home) -> None:
        self._place = InHome(home)
        self._ids = map(str, itertools.count(1))
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        requests = context.socket(zmq.DEALER)
        self._events = context.socket(zmq.SUB)
        for socket in (requests, self._events):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        self._events.setsockopt(zmq.RCVHWM, _EVENT_QUEUE)
        self._events.setsockopt(zmq.SUBSCRIBE, b"")
        self._place.connect(requests, REQUEST_SOCKET)
        self._place.connect(self._events, EVENT_SOCKET)
        self._requests = ZmqSocket(requests, self._answered)
        self._told: ZmqSocket | None = None

    def listen(self, publish: Callable[[list[bytes]], None]) -> None:
        """From now on call `publish` with each event, as the supervisor sends it."""
        self._told = ZmqSocket(self._events, publish)

    async def carry_out(self, command: Command) -> Answer:
        """The supervisor's answer to `command`. It has as long as it takes: this process ends with the supervisor."""
        id = next(self._ids)
        answered = self._waiting[id] = asyncio.get_running_loop().create_future()
        try:
            if not self._requests.send([encode_command(msgspec.structs.replace(command, id=id))]):
                fault = Fault("busy", "the supervisor takes no more requests now: ask again later")
                return Answer(command.id, "error", error=fault)
            return msgspec.structs.replace(await answered, id=command.id)
        finally:
            del self._waiting[id]

    def close(self) -> None:
        self._requests.close()
        if self._told is not None:
            self._told.close()
        else:
            self._events.close(0)
        self._place.close()

    def _answered(self, frames: list[bytes]) -> None:
        try:
            answer = decode_answer(frames[-1])
        except BadRequest:
            return
        waiting = self._waiting.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
