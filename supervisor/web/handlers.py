"""The handlers of all GET paths."""

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
from ..state.reader import StateReader
from ..store.state_dir import Home
from ..system.errors import Refusal
from . import json_views
from .access_log import AccessLog
from .app import LIMITS, Answering, json_answer
from .auth import WebAuth
from .daemon_client import DaemonClient
from .errors import RequestRefused, of_fault
from .event_feed import Dropped, EventFeed, stream
from .logs import LogPages
from .metrics import CONTENT_TYPE, Metrics
from .openapi import describe
from .ticks import TickFeed, together
from .tokens import Token

__all__ = ["Handlers"]

_MOST_STREAMS = 256
_LOOK_AT_TOKENS = 1.0

_REQUESTS: dict[str, Callable[[Any], Command]] = {
    "/api/status": lambda query: commands.Status(),
    "/api/history": lambda query: commands.History(limit=query.limit),
    "/api/audit": lambda query: commands.History(limit=query.limit, commands=True),
    "/api/releases": lambda query: commands.Releases(),
    "/api/settings": lambda query: commands.Settings(),
    "/api/commands": lambda query: commands.Commands(),
}
"""The command for each path that the supervisor answers, made from the query."""


class Handlers:
    """`by_path` has the handler of each path."""

    def __init__(
        self,
        home: Home,
        bot: str,
        version: str,
        *,
        client: DaemonClient,
        ticks: TickFeed,
        feed: EventFeed,
        metrics: Metrics,
        auth: WebAuth,
        access_log: AccessLog,
    ) -> None:
        self._bot = bot
        self._version = version
        self._client = client
        self._ticks = ticks
        self._feed = feed
        self._metrics = metrics
        self._auth = auth
        self._access_log = access_log
        self._log_pages = LogPages(home, bot)
        self._state_reader = StateReader(home)
        self._reading = asyncio.Lock()
        self._description = describe(version)
        self._stopping = False
        self.by_path: Mapping[str, Answering] = {
            **{path: self._request(command) for path, command in _REQUESTS.items()},
            "/api/me": self._me,
            "/api/ticks": self._recent,
            "/api/events": self._events,
            "/api/history/{deployment}": self._deployment,
            "/api/logs": self._logs,
            "/api/state": self._state,
            "/api/state-diff": self._comparison,
            "/metrics": self._numbers,
            "/openapi.json": self._described,
        }

    def stop(self) -> None:
        """End all streams soon."""
        self._stopping = True

    def _request(self, command: Callable[[Any], Command]) -> Answering:
        async def ask(request: web.Request, query: Any, token: Token | None) -> web.StreamResponse:
            return json_answer(await self._client.look(command(query)))

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
        given = request.match_info["deployment"]
        if not given.isascii() or not given.isdecimal() or len(given) > 16 or not 0 < int(given) <= 2**53:
            raise RequestRefused("not-found", f"no deployment {given[:40]!r}: expected its number")
        return json_answer(await self._client.look(commands.History(deployment=int(given))))

    async def _logs(
        self, request: web.Request, query: json_views.LogsWanted, token: Token | None
    ) -> web.StreamResponse:
        async with self._reading:
            return json_answer(await asyncio.to_thread(self._log_pages.page, query))

    async def _state(
        self, request: web.Request, query: json_views.StateWanted, token: Token | None
    ) -> web.StreamResponse:
        reader = self._state_reader
        return await self._read_state(lambda: reader.show(query.path, query.at, query.offset, query.limit))

    async def _comparison(
        self, request: web.Request, query: json_views.ComparisonWanted, token: Token | None
    ) -> web.StreamResponse:
        return await self._read_state(lambda: self._state_reader.compare(query.a, query.b, query.limit))

    async def _read_state(self, read: Callable[[], Any]) -> web.StreamResponse:
        """Read the journal here, one request after another: the supervisor has no part in it."""
        async with self._reading:
            try:
                return json_answer(await asyncio.to_thread(read))
            except Refusal as problem:
                raise of_fault(problem.fault) from None

    async def _numbers(self, request: web.Request, query: Any, token: Token | None) -> web.StreamResponse:
        try:
            status = msgspec.convert(await self._client.look(commands.Status()), BotStatus)
        except (RequestRefused, msgspec.ValidationError):
            status = None
        limits = request.app.get(LIMITS)
        turned_away, displaced = (limits.turned_away, limits.displaced) if limits is not None else (0, 0)
        text = self._metrics.render(status, _memory(), turned_away=turned_away, displaced=displaced)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _described(self, request: web.Request, query: Any, token: Token | None) -> web.StreamResponse:
        return json_answer(self._description)

    async def _events(
        self, request: web.Request, query: json_views.StreamWanted, token: Token | None
    ) -> web.StreamResponse:
        assert token is not None
        if self._metrics.streams >= _MOST_STREAMS:
            raise RequestRefused("too-many", f"there are {_MOST_STREAMS} listeners already: retry later")
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
            self._access_log.say(f"dropped a listener of {token.name}: {why}")
        except ConnectionError:
            # The listener disconnected.
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
                    good = self._auth.still(token)
                except NeverblinkError:
                    good = False
            return good and not self._stopping

        return still


class _Topics:
    """The requested topics; by default all except `pulse`, whose content is in `ticks` and `status`."""

    def __init__(self, text: str) -> None:
        self._wanted = frozenset(text.split(",")) if text else None

    def __contains__(self, topic: object) -> bool:
        return topic in self._wanted if self._wanted is not None else topic != _PULSE


_PULSE = str(Heartbeat.__struct_config__.tag)


def _memory() -> int:
    """Resident memory of this process, bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
