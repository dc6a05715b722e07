"""What is looked at: by path, what is asked of the supervisor, or known here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from ...protocol import commands
from ...protocol.commands import Command
from ...protocol.errors import NeverblinkError
from ...protocol.events import Heartbeat
from ...protocol.status import BotStatus
from ..store.state_dir import Home
from . import json_views
from .access_log import AccessLog
from .app import DOOR, Answering, json_answer
from .auth import WebAuth
from .daemon_client import DaemonClient
from .errors import RequestRefused
from .event_feed import EventFeed
from .logs import LogPages
from .metrics import CONTENT_TYPE, Metrics
from .openapi import describe
from .sse import Dropped, stream
from .ticks import TickFeed, together
from .tokens import Token

__all__ = ["Handlers"]

_MOST_STREAMS = 256
_LOOK_AT_TOKENS = 1.0

_ASKED: dict[str, Callable[[Any], Command]] = {
    "/api/status": lambda query: commands.Status(),
    "/api/history": lambda query: commands.History(limit=query.limit),
    "/api/audit": lambda query: commands.History(limit=query.limit, commands=True),
    "/api/releases": lambda query: commands.Releases(),
    "/api/settings": lambda query: commands.Settings(),
    "/api/commands": lambda query: commands.Commands(),
}
"""What the supervisor is asked for these, by their query."""


class Handlers:
    """`by_path` answers each path."""

    def __init__(
        self,
        home: Home,
        bot: str,
        version: str,
        *,
        line: DaemonClient,
        ticks: TickFeed,
        feed: EventFeed,
        metrics: Metrics,
        admission: WebAuth,
        book: AccessLog,
    ) -> None:
        self._bot = bot
        self._version = version
        self._line = line
        self._ticks = ticks
        self._feed = feed
        self._metrics = metrics
        self._admission = admission
        self._book = book
        self._log_pages = LogPages(home, bot)
        self._reading = asyncio.Lock()
        self._description = describe(version)
        self._stopping = False
        self.by_path: Mapping[str, Answering] = {
            **{path: self._asked(command) for path, command in _ASKED.items()},
            "/api/me": self._me,
            "/api/ticks": self._recent,
            "/api/events": self._events,
            "/api/history/{deployment}": self._deployment,
            "/api/logs": self._logs,
            "/metrics": self._numbers,
            "/openapi.json": self._described,
        }

    def stop(self) -> None:
        """End all streams, soon."""
        self._stopping = True

    def _asked(self, command: Callable[[Any], Command]) -> Answering:
        async def ask(request: web.Request, query: Any, token: Token | None) -> web.StreamResponse:
            return json_answer(await self._line.look(command(query)))

        return ask

    async def _me(self, request: web.Request, query: Any, token: Token | None) -> web.StreamResponse:
        assert token is not None
        return json_answer(json_views.Me(token.name, token.role, self._bot, self._version))

    async def _recent(
        self, request: web.Request, query: json_views.TicksWanted, token: Token | None
    ) -> web.StreamResponse:
        ticks, leads = self._ticks.seen(query.limit)
        if query.pieces:
            ticks = together(ticks, query.pieces)
        return json_answer(json_views.TicksSeen(ticks, leads))

    async def _deployment(self, request: web.Request, query: Any, token: Token | None) -> web.StreamResponse:
        said = request.match_info["deployment"]
        if not said.isascii() or not said.isdecimal() or len(said) > 16 or not 0 < int(said) <= 2**53:
            raise RequestRefused("not-found", f"no deployment {said[:40]!r}: expected its number")
        return json_answer(await self._line.look(commands.History(deployment=int(said))))

    async def _logs(
        self, request: web.Request, query: json_views.LogsWanted, token: Token | None
    ) -> web.StreamResponse:
        async with self._reading:
            return json_answer(await asyncio.to_thread(self._log_pages.page, query))

    async def _numbers(self, request: web.Request, query: Any, token: Token | None) -> web.StreamResponse:
        try:
            status = msgspec.convert(await self._line.look(commands.Status()), BotStatus)
        except (RequestRefused, msgspec.ValidationError):
            status = None
        door = request.app.get(DOOR)
        turned_away, displaced = (door.turned_away, door.displaced) if door is not None else (0, 0)
        text = self._metrics.render(status, _memory(), turned_away=turned_away, displaced=displaced)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _described(self, request: web.Request, query: Any, token: Token | None) -> web.StreamResponse:
        return json_answer(self._description)

    async def _events(
        self, request: web.Request, query: json_views.StreamWanted, token: Token | None
    ) -> web.StreamResponse:
        assert token is not None
        if self._metrics.streams >= _MOST_STREAMS:
            raise RequestRefused("too-many", f"{_MOST_STREAMS} listen already: try again later")
        after = request.headers.get("Last-Event-ID", query.after)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        self._metrics.streams += 1
        try:
            await response.prepare(request)
            topics = _Topics(query.topics)
            await stream(request, response, self._feed, topics, after, self._still(token))
        except Dropped as why:
            self._metrics.dropped()
            self._book.say(f"dropped a listener of {token.name}: {why}")
        except ConnectionError:
            # It has left: that is how a stream ends.
            pass
        finally:
            self._metrics.streams -= 1
        return response

    def _still(self, token: Token) -> Callable[[], bool]:
        looked, good = 0.0, True

        def still() -> bool:
            nonlocal looked, good
            now = asyncio.get_running_loop().time()
            if now - looked >= _LOOK_AT_TOKENS:
                looked = now
                try:
                    good = self._admission.still(token)
                except NeverblinkError:
                    good = False
            return good and not self._stopping

        return still


class _Topics:
    """Those that are wanted; by default all but `pulse`, which says less than `ticks` and `status` do."""

    def __init__(self, said: str) -> None:
        self._wanted = frozenset(said.split(",")) if said else None

    def __contains__(self, topic: object) -> bool:
        return topic in self._wanted if self._wanted is not None else topic != _PULSE


_PULSE = str(Heartbeat.__struct_config__.tag)


def _memory() -> int:
    """Resident, bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
