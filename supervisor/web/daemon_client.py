"""The line to the supervisor: commands out, answers in, and every event as it happens.

The same two sockets that every client has (see `supervisor.client`), on an event loop. What is only looked at is asked
for once, however many look: of all who want the status within the same moment, one asks, so no number of browsers is
more work for the supervisor than one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

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
from ...protocol.errors import NeverblinkError
from ...protocol.events import Event, decode_event
from ..sockets.endpoints import InHome
from ..sockets.zmq_socket import ZmqSocket
from ..store.state_dir import Home
from .errors import RequestRefused, of_fault

__all__ = ["DaemonClient"]

_FRESH_FOR = 0.25
"""Seconds for which what was looked at is as good as new."""
_MOST_ASKED = 64
_EVENT_QUEUE = 20_000


class DaemonClient:
    """Speaks to the supervisor of `home`; `hear(topic, json, event)` is told each event, None when it is a new kind.

    To be made on the loop. `hear` must not raise.
    """

    def __init__(self, home: Home, hear: Callable[[str, bytes, Event | None], None]) -> None:
        self._hear = hear
        self._place = InHome(home)
        self._ids = map(str, itertools.count(1))
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._looked: dict[bytes, tuple[float, asyncio.Task[Any]]] = {}
        self._context = zmq.Context[zmq.Socket[bytes]](1)
        requests = self._context.socket(zmq.DEALER)
        events = self._context.socket(zmq.SUB)
        for socket in (requests, events):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RECONNECT_IVL, 50)
        events.setsockopt(zmq.RCVHWM, _EVENT_QUEUE)
        events.setsockopt(zmq.SUBSCRIBE, b"")
        self._place.connect(requests, REQUEST_SOCKET)
        self._place.connect(events, EVENT_SOCKET)
        self._requests = ZmqSocket(requests, self._answered)
        self._events = ZmqSocket(events, self._told)

    async def ask(self, command: Command, within: float) -> Any:
        """The result of `command`. Raises `RequestRefused`: with what the supervisor said, or that it said nothing
        in time."""
        if len(self._waiting) >= _MOST_ASKED:
            raise RequestRefused(
                "too-many", f"{_MOST_ASKED} requests are waiting for their answers: ask again later"
            )
        id = next(self._ids)
        self._waiting[id] = asyncio.get_running_loop().create_future()
        try:
            if not self._requests.send([encode_command(msgspec.structs.replace(command, id=id))]):
                raise RequestRefused(
                    "unreachable", "the supervisor can't be reached; the bot goes on without it"
                )
            async with asyncio.timeout(within):
                answer = await self._waiting[id]
        except TimeoutError:
            raise RequestRefused(
                "silent",
                f"the supervisor has not answered in {within:g}s; what was asked may still be carried out",
            ) from None
        finally:
            del self._waiting[id]
        if answer.error is not None:
            raise of_fault(answer.error)
        return answer.result

    async def look(self, command: Command, within: float = 5.0) -> Any:
        """As `ask`, for what changes nothing: of those who ask the same at about the same time, one does."""
        key = encode_command(command)
        now = asyncio.get_running_loop().time()
        since, task = self._looked.get(key, (0.0, None))
        if task is None or now - since > _FRESH_FOR:
            self._forget(now)
            task = asyncio.get_running_loop().create_task(self.ask(command, within))
            self._looked[key] = now, task
        return await asyncio.shield(task)

    def changed(self) -> None:
        """Whoever looks from now on wants to see what has been done."""
        self._looked = {key: (0.0, task) for key, (_, task) in self._looked.items()}

    def close(self) -> None:
        self._requests.close()
        self._events.close()
        self._place.close()
        self._context.term()

    def _forget(self, now: float) -> None:
        for key, (since, task) in list(self._looked.items()):
            if task.done() and now - since > _FRESH_FOR:
                # Somebody may have gone away before the answer came: nobody is left to hear of its failure.
                if not task.cancelled():
                    task.exception()
                del self._looked[key]

    def _answered(self, frames: list[bytes]) -> None:
        try:
            answer = decode_answer(frames[-1])
        except BadRequest:
            # No way to know whose it was; the one who waits for it meets its time-out.
            return
        waiting = self._waiting.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _told(self, frames: list[bytes]) -> None:
        body = frames[-1]
        try:
            event = decode_event(body)
        except NeverblinkError:
            # Of a newer supervisor: whoever listens to us may know it.
            event = None
        self._hear(frames[0].decode(errors="replace"), body, event)
