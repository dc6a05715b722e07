"""Feeds: a message sent on a topic goes to every websocket that is connected to it.

Each connection has a queue of its own, so a slow or dying one does not delay the others, and messages sent while a
connection is being established are not lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from aiohttp import WSCloseCode, web

__all__ = ["Feeds"]

_HEARTBEAT = 5.0


class Feeds:
    """The open connections by topic. `wanted` is set when a topic gets its first one."""

    def __init__(self) -> None:
        self._queues: dict[str, set[asyncio.Queue[str]]] = {}
        self._sockets: set[web.WebSocketResponse] = set()
        self._wanted: dict[str, asyncio.Event] = {}

    def tell(self, topic: str, text: str) -> None:
        """Send `text` to every connection of the topic."""
        for queue in self._queues.get(topic, ()):
            queue.put_nowait(text)

    def wanted(self, topic: str) -> asyncio.Event:
        """Set when the topic gets its first connection."""
        return self._wanted.setdefault(topic, asyncio.Event())

    async def serve(self, request: web.Request, topic: str, past: Iterable[str]) -> web.WebSocketResponse:
        """Answer a request with a connection to the topic that begins with `past`; return when it has ended."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        for text in past:
            queue.put_nowait(text)
        queues = self._queues.setdefault(topic, set())
        queues.add(queue)
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT)
        self._sockets.add(socket)
        try:
            await socket.prepare(request)
            self.wanted(topic).set()
            pushing = asyncio.create_task(_push(socket, queue))
            try:
                async for _ in socket:
                    pass
            finally:
                pushing.cancel()
        finally:
            queues.discard(queue)
            self._sockets.discard(socket)
        return socket

    async def close(self) -> None:
        """End every connection."""
        for socket in tuple(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY)


async def _push(socket: web.WebSocketResponse, queue: asyncio.Queue[str]) -> None:
    with suppress(ConnectionError):
        while True:
            await socket.send_str(await queue.get())
