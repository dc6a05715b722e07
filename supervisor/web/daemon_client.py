"""The web process's connection to the supervisor: requests with their answers, and every event.

Read-only requests are shared: equal requests at the same moment are sent once, so that many browsers are no more work
for the supervisor than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import zmq

from ...protocol.commands import Command, encode_command
from ...protocol.errors import NeverblinkError
from ...protocol.events import Event, decode_event
from ..sockets.supervisor_connection import AsyncRequests, InHome, RequestNotSent, event_socket
from ..sockets.zmq_socket import ZmqSocket
from ..store.state_dir import Home
from .errors import RequestRefused, of_fault

__all__ = ["DaemonClient"]

_FRESH_FOR = 0.25
"""How long an answer is shared, seconds."""
_MOST_PENDING = 64


class DaemonClient:
    """Connects to the supervisor of `home`. Calls `publish(topic, json, event)` with each event (None: unknown kind).

    Make it on the loop. `publish` must not raise.
    """

    def __init__(self, home: Home, publish: Callable[[str, bytes, Event | None], None]) -> None:
        self._publish = publish
        self._shared: dict[bytes, tuple[float, asyncio.Task[Any]]] = {}
        self._endpoint = InHome(home)
        self._context = zmq.Context[zmq.Socket[bytes]](1)
        self._requests = AsyncRequests(self._context, self._endpoint)
        self._events = ZmqSocket(event_socket(self._context, self._endpoint), self._receive_event)

    async def ask(self, command: Command, within: float) -> Any:
        """The result of `command`. Raises `RequestRefused`, also when there is no answer within so many seconds."""
        if self._requests.pending >= _MOST_PENDING:
            raise RequestRefused(
                "too-many", f"{_MOST_PENDING} requests are waiting for their answers: ask again later"
            )
        try:
            answer = await self._requests.ask(command, within)
        except RequestNotSent:
            raise RequestRefused(
                "unreachable", "the supervisor can't be reached; the bot goes on without it"
            ) from None
        except TimeoutError:
            raise RequestRefused(
                "silent",
                f"the supervisor has not answered in {within:g}s; the request may still be carried out",
            ) from None
        if answer.error is not None:
            raise of_fault(answer.error)
        return answer.result

    async def look(self, command: Command, within: float = 5.0) -> Any:
        """As `ask`, for a command that changes nothing: equal requests within a moment share one answer."""
        key = encode_command(command)
        now = asyncio.get_running_loop().time()
        since, task = self._shared.get(key, (0.0, None))
        if task is None or now - since > _FRESH_FOR:
            self._forget(now)
            task = asyncio.get_running_loop().create_task(self.ask(command, within))
            self._shared[key] = now, task
        return await asyncio.shield(task)

    def changed(self) -> None:
        """Stop sharing earlier answers, after a change."""
        self._shared = {key: (0.0, task) for key, (_, task) in self._shared.items()}

    def close(self) -> None:
        self._requests.close()
        self._events.close()
        self._endpoint.close()
        self._context.term()

    def _forget(self, now: float) -> None:
        for key, (since, task) in list(self._shared.items()):
            if task.done() and now - since > _FRESH_FOR:
                # Every caller may have gone before the answer came; then its failure is read here.
                if not task.cancelled():
                    task.exception()
                del self._shared[key]

    def _receive_event(self, frames: list[bytes]) -> None:
        body = frames[-1]
        try:
            event = decode_event(body)
        except NeverblinkError:
            # From a newer supervisor; the browser may know it.
            event = None
        self._publish(frames[0].decode(errors="replace"), body, event)
