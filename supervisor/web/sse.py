"""One listener's server-sent events.

It writes only what the listener reads. A client that stops reading is dropped after a while, and so is one that reads
too slowly to keep its place in the feed: both may come back and say where they were.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Container

from aiohttp import web

from .event_feed import EventFeed, Missed

__all__ = ["Dropped", "stream"]

_PACE = 0.1
"""Seconds: what comes within that is written in one piece."""
_ALIVE_EVERY = 15.0
_UNREAD_FOR = 10.0
_BUFFER = 32 * 1024
"""Of the kernel's memory for what is on its way to one listener, and of ours."""


class Dropped(Exception):
    """The listener was cut off; the text says why."""


async def stream(
    request: web.Request,
    response: web.StreamResponse,
    feed: EventFeed,
    topics: Container[str],
    after: str,
    still: Callable[[], bool],
) -> None:
    """Write what is told, from the event with the id `after` on (now, if that is ""), as long as `still()`.

    Returns when the listener has left. Raises `Dropped`.
    """
    transport = request.transport
    if transport is None:
        return
    transport.set_write_buffer_limits(_BUFFER)
    wire = transport.get_extra_info("socket")
    if wire is not None:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    async def write(text: bytes) -> None:
        try:
            async with asyncio.timeout(_UNREAD_FOR):
                await response.write(text)
        except TimeoutError:
            transport.abort()
            raise Dropped(f"it has read nothing for {_UNREAD_FOR:g}s") from None

    place, reset = feed.now, False
    if after:
        try:
            place = feed.place_of(after)
        except Missed:
            reset = True
    # Who was away for too long has to look at everything anew.
    await write(
        b"retry: 1000\nevent: %b\nid: %b-%d\ndata: {}\n\n"
        % (b"reset" if reset else b"begin", feed.instance.encode(), place - 1)
    )
    while still():
        try:
            async with asyncio.timeout(_ALIVE_EVERY):
                await feed.bus(place)
        except TimeoutError:
            await write(b": alive\n\n")
            continue
        await asyncio.sleep(_PACE)
        try:
            text, place = feed.since(place, topics)
        except Missed:
            transport.abort()
            raise Dropped("it reads too slowly: what it had not seen yet is not kept any more") from None
        if text:
            await write(text)
