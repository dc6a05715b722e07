"""The web process: follows the bot, and answers whoever may ask."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from ...protocol import commands
from ...protocol.commands import Command
from ...protocol.errors import NeverblinkError
from ...protocol.events import Event, Pulse
from ..history import History
from ..home import Home
from ..status import Status
from ..strip import Strip
from . import answers
from .admission import Admission
from .app import DOOR, application, json_answer, wanted
from .book import Book
from .door import Door
from .feed import Feed
from .line import Line
from .log_pages import LogPages
from .metrics import CONTENT_TYPE, Metrics
from .openapi import describe
from .operations import Operation
from .refused import Refused
from .settings import Settings
from .stream import Dropped, stream
from .ticks import MOST, Lead, Tick, Ticks, together
from .tokens import Token, Tokens

__all__ = ["CannotListen", "serve"]

_STATUS_EVERY = 1.0
_MOST_STREAMS = 256
_LOOK_AT_TOKENS = 1.0
_KEEP_ALIVE = 30.0
_BACKLOG = 32
"""So many are let in at once: by so many may the door be wrong about how many there are."""


class CannotListen(NeverblinkError):
    """The address can't be listened on, or the certificate can't be used."""


async def serve(home: Home, bot: str, settings: Settings, version: str, until: asyncio.Event) -> None:
    """Serve until `until` is set. Raises `CannotListen`."""
    await _Server(home, bot, settings, version).run(until)


class _Server:
    def __init__(self, home: Home, bot: str, settings: Settings, version: str) -> None:
        self._home = home
        self._bot = bot
        self._settings = settings
        self._version = version
        self._book = Book(home.logs / "http.log")
        self._feed = Feed(f"{time.time_ns():x}")
        self._metrics = Metrics(bot, version)
        self._tokens = Tokens(home.tokens)
        self._admission = Admission(settings, self._tokens)
        self._line = Line(home, self._heard)
        self._ticks = Ticks(Strip(home.journal, MOST), self._ticked)
        self._log_pages = LogPages(home, bot)
        self._reading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._stopping = False
        self._description = describe(version)

    async def run(self, until: asyncio.Event) -> None:
        app = application(
            self._admission,
            {
                "/api/me": self._me,
                "/api/status": self._status,
                "/api/ticks": self._recent,
                "/api/events": self._events,
                "/api/history": self._history,
                "/api/history/{deployment}": self._deployment,
                "/api/releases": self._releases,
                "/api/settings": self._settings_now,
                "/api/commands": self._commands,
                "/api/audit": self._audit,
                "/api/logs": self._logs,
                "/metrics": self._numbers,
                "/openapi.json": self._described,
            },
            self._carry_out,
            self._metrics,
            self._book,
            encrypted=self._settings.encrypted,
        )
        runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=_KEEP_ALIVE, max_line_size=8190, max_field_size=8190
        )
        await runner.setup()
        assert runner.server is not None
        app_door = Door(runner.server)
        app[DOOR] = app_door
        work = [self._minding(self._ticks.run()), self._minding(self._keep_status())]
        try:
            server = await self._listen(app_door)
            self._book.say(f"listening on {self._settings.url}")
            await until.wait()
            self._stopping = True
            server.close()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await runner.cleanup()
            self._line.close()

    async def _listen(self, door: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        settings = self._settings
        try:
            context = _tls(settings) if settings.encrypted else None
            return await asyncio.get_running_loop().create_server(
                door,
                settings.host,
                settings.port,
                backlog=_BACKLOG,
                ssl=context,
                ssl_handshake_timeout=10 if context is not None else None,
            )
        except (OSError, ValueError) as problem:
            said = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
            raise CannotListen(f"can't listen on {settings.url}: {said}") from None

    def _minding(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def mind() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as bug:
                # Half a page that looks whole is worse than none: the supervisor starts another process.
                self._book.say(f"a fault: {bug!r}")
                os._exit(70)

        return asyncio.get_running_loop().create_task(mind())

    async def _carry_out(self, command: Command, within: float) -> Any:
        try:
            return await self._line.ask(command, within)
        finally:
            self._line.changed()

    # what happens

    def _heard(self, topic: str, body: bytes, event: Event | None) -> None:
        self._feed.tell(topic, body)
        if event is not None:
            self._metrics.happened(event)
        if not isinstance(event, Pulse):
            self._changed.set()

    def _ticked(self, ticks: list[Tick], leads: list[Lead]) -> None:
        self._metrics.ticked(ticks, leads)
        for lead in leads:
            self._feed.tell("lead", msgspec.json.encode(lead))
        if ticks:
            self._feed.tell("ticks", msgspec.json.encode(together(ticks)))

    async def _keep_status(self) -> None:
        """Tell the status every second, and soon after something has happened: nobody who listens has to ask."""
        while True:
            try:
                async with asyncio.timeout(_STATUS_EVERY):
                    await self._changed.wait()
                # What comes at once is one change.
                await asyncio.sleep(0.05)
            except TimeoutError:
                pass
            self._changed.clear()
            if not self._metrics.streams:
                continue
            try:
                status = await self._line.ask(commands.Status(), 5.0)
            except Refused:
                continue
            self._feed.tell("status", msgspec.json.encode(status))

    # what is looked at

    async def _me(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        wanted(request, operation.query)
        assert token is not None
        return json_answer(answers.Me(token.name, token.role, self._bot, self._version))

    async def _status(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        wanted(request, operation.query)
        return json_answer(await self._line.look(commands.Status()))

    async def _recent(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        query: answers.TicksWanted = wanted(request, operation.query)
        ticks, leads = self._ticks.seen(query.limit)
        if query.pieces:
            ticks = together(ticks, query.pieces)
        return json_answer(answers.TicksSeen(ticks, leads))

    async def _history(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        query: answers.Paging = wanted(request, operation.query)
        return json_answer(await self._line.look(commands.History(limit=query.limit)))

    async def _deployment(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        wanted(request, operation.query)
        said = request.match_info["deployment"]
        if not said.isascii() or not said.isdecimal() or not 0 < int(said[:17]) <= 2**53 or len(said) > 16:
            raise Refused("not-found", f"no deployment {said[:40]!r}: expected its number")
        return json_answer(await self._line.look(commands.History(deployment=int(said))))

    async def _releases(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        wanted(request, operation.query)
        return json_answer(await self._line.look(commands.Releases()))

    async def _settings_now(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        wanted(request, operation.query)
        return json_answer(await self._line.look(commands.Settings()))

    async def _commands(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        wanted(request, operation.query)
        return json_answer(await self._line.look(commands.Commands()))

    async def _audit(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        query: answers.Paging = wanted(request, operation.query)

        def read() -> list[Any]:
            with History.open(self._home.database, self._bot, read_only=True) as history:
                return list(history.commands(query.limit))

        return json_answer(answers.Audit(await asyncio.to_thread(read)))

    async def _logs(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        query: answers.LogsWanted = wanted(request, operation.query)
        async with self._reading:
            return json_answer(await asyncio.to_thread(self._log_pages.page, query))

    async def _numbers(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        try:
            status = msgspec.convert(await self._line.look(commands.Status()), Status)
        except (Refused, msgspec.ValidationError):
            status = None
        door = request.app.get(DOOR)
        if door is not None:
            self._metrics.turned_away = door.turned_away
        text = self._metrics.render(status, _memory())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _described(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        return json_answer(self._description)

    async def _events(
        self, request: web.Request, operation: Operation, token: Token | None
    ) -> web.StreamResponse:
        query: answers.StreamWanted = wanted(request, operation.query)
        assert token is not None
        if self._metrics.streams >= _MOST_STREAMS:
            raise Refused("too-many", f"{_MOST_STREAMS} listen already: try again later")
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
            self._metrics.dropped += 1
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


_PULSE = str(Pulse.__struct_config__.tag)


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.cert, settings.key)
    return context


def _memory() -> int:
    """Resident, bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
