"""The door: how many may be connected, who makes room for whom, and how long a connection may be silent.

Idle connections cost an attacker nothing, so they must not be worth anything. A newcomer is let in as long as there is
a connection that asks for nothing now: the one that has been idle for longest is closed for it, first among those that
never showed a valid token. So a client that opens many idle connections only pushes out its own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

from aiohttp import web

__all__ = ["ConnectionLimits"]

_MOST = 512
_FIRST_WORD = 15.0


@dataclass
class _Visit:
    """What is known of a connection."""

    connected: bool = False
    """The server has it, or had it: before that it shakes hands."""
    asked: bool = False
    """A whole request has come over it."""
    running: int = 0
    """Requests that are being answered: a stream of events is one for as long as it lasts."""
    trusted: bool = False
    """It has shown a valid token."""


class ConnectionLimits:
    """Makes the protocol of each new connection: `server`'s, as long as there is room, or room can be made."""

    def __init__(self, server: web.Server, most: int = _MOST, first_word: float = _FIRST_WORD) -> None:
        self._server = server
        self._most = most
        self._first_word = first_word
        self._visits: OrderedDict[asyncio.Protocol, _Visit] = OrderedDict()
        """Those that were active least recently first."""
        self.turned_away = 0
        """Newcomers for whom there was no room."""
        self.displaced = 0
        """Idle connections that were closed for a newcomer."""

    def __call__(self) -> asyncio.Protocol:
        if len(self._visits) >= self._most:
            self._forget_closed()
        if len(self._visits) >= self._most and not self._make_room():
            self.turned_away += 1
            return _Shut()
        visitor = self._server()
        self._visits[visitor] = _Visit()
        asyncio.get_running_loop().call_later(self._first_word, self._judge, visitor)
        return visitor

    def begins(self, visitor: asyncio.Protocol) -> None:
        """A whole request has come over this connection, and is being answered."""
        visit = self._visits.get(visitor)
        if visit is not None:
            visit.asked = True
            visit.running += 1
            self._visits.move_to_end(visitor)

    def ends(self, visitor: asyncio.Protocol, *, trusted: bool) -> None:
        """A request was answered; `trusted` if it came with a valid token."""
        visit = self._visits.get(visitor)
        if visit is not None:
            visit.running -= 1
            visit.trusted = visit.trusted or trusted
            self._visits.move_to_end(visitor)

    def _make_room(self) -> bool:
        idle = [visitor for visitor, visit in self._visits.items() if not visit.running]
        strangers = (visitor for visitor in idle if not self._visits[visitor].trusted)
        chosen = next(strangers, idle[0] if idle else None)
        if chosen is None:
            return False
        self.displaced += 1
        self._cut_off(chosen)
        return True

    def _forget_closed(self) -> None:
        there = set(self._server.connections)
        for visitor, visit in list(self._visits.items()):
            if visitor in there:
                visit.connected = True
            elif visit.connected:
                del self._visits[visitor]

    def _judge(self, visitor: asyncio.Protocol) -> None:
        visit = self._visits.get(visitor)
        if visit is not None and not visit.asked:
            self._cut_off(visitor)

    def _cut_off(self, visitor: asyncio.Protocol) -> None:
        del self._visits[visitor]
        transport = cast("asyncio.Transport | None", getattr(visitor, "transport", None))
        if transport is not None:
            transport.abort()


class _Shut(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()
