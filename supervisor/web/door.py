"""The door: how many may be connected, and how long one may stand in it without a word."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web

__all__ = ["Door"]

_MOST = 512
_FIRST_WORD = 15.0


class Door:
    """Makes the protocol of each new connection: `server`'s, as long as there is room."""

    def __init__(self, server: web.Server, most: int = _MOST, first_word: float = _FIRST_WORD) -> None:
        self._server = server
        self._most = most
        self._first_word = first_word
        self._silent: set[asyncio.Protocol] = set()
        """Those that have asked for nothing yet."""
        self.turned_away = 0

    def __call__(self) -> asyncio.Protocol:
        if len(self._server.connections) >= self._most:
            self.turned_away += 1
            return _Shut()
        visitor = self._server()
        self._silent.add(visitor)
        asyncio.get_running_loop().call_later(self._first_word, self._judge, visitor)
        return visitor

    def has_asked(self, visitor: asyncio.Protocol) -> None:
        """A whole request has come over this connection."""
        self._silent.discard(visitor)

    def _judge(self, visitor: asyncio.Protocol) -> None:
        if visitor not in self._silent:
            return
        self._silent.discard(visitor)
        transport = cast("asyncio.Transport | None", getattr(visitor, "transport", None))
        if transport is not None:
            transport.abort()


class _Shut(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()
