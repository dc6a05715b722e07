"""The web process: follows the bot, and answers requests with a valid token."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from aiohttp import web

from ...protocol import commands
from ...protocol.commands import Command
from ...protocol.errors import NeverblinkError
from ...protocol.events import Event, Heartbeat
from ..audit.recent_ticks import RecentTicks
from ..config.addresses import WebSettings
from ..config.config import LogSettings
from ..store.state_dir import Home
from .access_log import AccessLog, logger_into
from .app import LIMITS, application
from .auth import WebAuth
from .daemon_client import DaemonClient
from .errors import RequestRefused
from .event_feed import EventFeed
from .handlers import Handlers
from .limits import ConnectionLimits
from .metrics import Metrics
from .ticks import MOST, LeadSeen, TickFeed, TickSeen, together
from .tokens import Tokens

__all__ = ["CannotListen", "serve"]

_STATUS_EVERY = 1.0
_KEEP_ALIVE = 30.0
_BACKLOG = 32
"""Connections accepted at once: `ConnectionLimits` may miscount by so many."""


class CannotListen(NeverblinkError):
    """The address or the certificate cannot be used."""


async def serve(
    home: Home, bot: str, settings: WebSettings, version: str, until: asyncio.Event, log: LogSettings
) -> None:
    """Serve until `until` is set. Raises `CannotListen`."""
    await _Server(home, bot, settings, version, log).run(until)


class _Server:
    def __init__(self, home: Home, bot: str, settings: WebSettings, version: str, log: LogSettings) -> None:
        self._home = home
        self._bot = bot
        self._settings = settings
        self._version = version
        self._access_log = AccessLog(home.logs / "http.log", log)
        self._feed = EventFeed(f"{time.time_ns():x}")
        self._metrics = Metrics(bot, version)
        self._tokens = Tokens(home.tokens)
        self._auth = WebAuth(settings, self._tokens)
        self._client = DaemonClient(home, self._heard)
        self._ticks = TickFeed(RecentTicks(home.journal, MOST), self._ticked)
        self._changed = asyncio.Event()

    async def run(self, until: asyncio.Event) -> None:
        handlers = Handlers(
            self._home,
            self._bot,
            self._version,
            client=self._client,
            ticks=self._ticks,
            feed=self._feed,
            metrics=self._metrics,
            auth=self._auth,
            access_log=self._access_log,
        )
        app = application(
            self._auth,
            handlers.by_path,
            self._carry_out,
            self._metrics,
            self._access_log,
            encrypted=self._settings.encrypted,
        )
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=logger_into(self._access_log),
            keepalive_timeout=_KEEP_ALIVE,
            max_line_size=8190,
            max_field_size=8190,
        )
        await runner.setup()
        assert runner.server is not None
        app[LIMITS] = limits = ConnectionLimits(runner.server)
        work = [self._supervised(self._ticks.run()), self._supervised(self._keep_status())]
        try:
            server = await self._listen(limits)
            self._access_log.say(f"listening on {self._settings.url}")
            await until.wait()
            handlers.stop()
            server.close()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await runner.cleanup()
            self._client.close()

    async def _listen(self, limits: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        settings = self._settings
        try:
            context = _tls(settings) if settings.encrypted else None
            return await asyncio.get_running_loop().create_server(
                limits,
                settings.host,
                settings.port,
                backlog=_BACKLOG,
                ssl=context,
                ssl_handshake_timeout=10 if context is not None else None,
            )
        except (OSError, ValueError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
            raise CannotListen(f"cannot listen on {settings.url}: {reason}") from None

    def _supervised(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as bug:
                # A page that is only partly alive is worse than none: exit, and the supervisor restarts the process.
                self._access_log.say(f"internal error: {bug!r}")
                os._exit(70)

        return asyncio.get_running_loop().create_task(run())

    async def _carry_out(self, command: Command, within: float) -> Any:
        try:
            return await self._client.ask(command, within)
        finally:
            self._client.changed()

    def _heard(self, topic: str, body: bytes, event: Event | None) -> None:
        self._feed.publish(topic, body)
        if event is not None:
            self._metrics.happened(event)
        if not isinstance(event, Heartbeat):
            self._changed.set()

    def _ticked(self, ticks: list[TickSeen], leads: list[LeadSeen]) -> None:
        self._metrics.ticked(ticks, leads)
        for lead in leads:
            self._feed.publish("lead", msgspec.json.encode(lead))
        if ticks:
            self._feed.publish("ticks", msgspec.json.encode(together(ticks)))

    async def _keep_status(self) -> None:
        """Publish the status every second, and soon after each event, so that listeners need not poll."""
        while True:
            try:
                async with asyncio.timeout(_STATUS_EVERY):
                    await self._changed.wait()
                # Changes in quick succession are published once.
                await asyncio.sleep(0.05)
            except TimeoutError:
                pass
            self._changed.clear()
            if not self._metrics.streams:
                continue
            try:
                status = await self._client.ask(commands.Status(), 5.0)
            except RequestRefused:
                continue
            self._feed.publish("status", msgspec.json.encode(status))


def _tls(settings: WebSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.cert, settings.key)
    return context
