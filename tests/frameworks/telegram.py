"""A Telegram Bot API on the loopback interface: people who write to a bot, polls, and what the bot sends.

As Telegram does, it repeats an update until a poll confirms it, and answers the older of two polls with 409.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Mapping

from aiohttp import web

from .driver import Done

__all__ = ["CHANNEL", "Telegram"]

CHANNEL = -1001
ASKING = 13
"""The chat with conversations."""


class Telegram:
    """Each chat writes `/buy N` `rate` times a second, from the first poll on. Use it with `with`.

    The bot is to answer `bought N`, later `sold N`, and to write `report K` to the channel each second. One more chat
    has conversations: it writes `/limit` and then `N`, and the bot is to answer `limit N`.
    """

    def __init__(self, chats: tuple[int, ...] = (11, 12), rate: float = 5.0) -> None:
        self.conflicts = 0
        """Polls that met another one."""
        self.said: list[tuple[int, str]] = []
        """What the bot has sent, as chat and text."""
        self.port = 0
        self._chats, self._rate = chats, rate
        self._updates: list[dict[str, object]] = []
        self._numbers = itertools.count(1000)
        self._sent: list[tuple[str, int]] = []
        self._done: list[Done] = []
        self._silent = threading.Event()
        self._begun = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Telegram:
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def environment(self) -> Mapping[str, str]:
        return {"TELEGRAM": f"http://127.0.0.1:{self.port}/bot", "CHANNEL": str(CHANNEL)}

    def sent(self) -> list[tuple[str, int]]:
        reports = max((done.number for done in self._done if done.stream == "report"), default=0)
        return [*self._sent, *(("report", number) for number in range(1, reports + 1))]

    def done(self) -> list[Done]:
        return list(self._done)

    def fall_silent(self) -> None:
        self._silent.set()

    # --- the server -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ended, self._polled, self._news = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._poll: asyncio.Event | None = None
        app = web.Application()
        app.router.add_route("*", "/bot42:token/getUpdates", self._get_updates)
        app.router.add_route("*", "/bot42:token/{method}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._begun.set()
        writing = asyncio.create_task(self._trade())
        await self._ended.wait()
        writing.cancel()
        await runner.cleanup()

    async def _trade(self) -> None:
        await self._polled.wait()
        for order in itertools.count(1):
            await asyncio.sleep(1 / self._rate)
            if self._silent.is_set():
                return
            for chat in self._chats:
                self._write(chat, f"/buy {order}")
                self._sent += [(f"bought {chat}", order), (f"sold {chat}", order)]
            # A conversation of two messages, so that some deployments come between the two.
            self._write(ASKING, "/limit" if order % 2 else str(order))
            if order % 2 == 0:
                self._sent.append(("limit", order))

    def _write(self, chat: int, text: str) -> None:
        command = text.partition(" ")[0]
        entities = [{"type": "bot_command", "offset": 0, "length": len(command)}] if command[0] == "/" else []
        number = next(self._numbers)
        message = {
            "message_id": number,
            "date": int(time.time()),
            "chat": {"id": chat, "type": "private", "first_name": "Ann"},
            "from": {"id": chat, "is_bot": False, "first_name": "Ann"},
            "text": text,
            "entities": entities,
        }
        self._updates.append({"update_id": number, "message": message})
        self._news.set()

    async def _get_updates(self, request: web.Request) -> web.Response:
        self._polled.set()
        asked = await request.post()
        offset, within = int(str(asked.get("offset", 0))), float(str(asked.get("timeout", 0)))
        if self._poll is not None:
            self.conflicts += 1
            self._poll.set()
        mine = self._poll = asyncio.Event()
        try:
            self._updates = [update for update in self._updates if int(str(update["update_id"])) >= offset]
            until = time.monotonic() + within
            while not self._updates and time.monotonic() < until and not mine.is_set():
                self._news.clear()
                waits = [asyncio.ensure_future(event.wait()) for event in (self._news, mine)]
                try:
                    await asyncio.wait(
                        waits, timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    for wait in waits:
                        wait.cancel()
            if mine.is_set():
                problem = "Conflict: terminated by other getUpdates request"
                return web.json_response({"ok": False, "error_code": 409, "description": problem}, status=409)
            return web.json_response({"ok": True, "result": self._updates[:100]})
        finally:
            if self._poll is mine:
                self._poll = None

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.post()
        method = request.match_info["method"]
        if method == "getMe":
            me = {"id": 42, "is_bot": True, "first_name": "Bot", "username": "a_bot"}
            return web.json_response({"ok": True, "result": me})
        if method != "sendMessage":
            return web.json_response({"ok": True, "result": True})
        chat, text = int(str(asked["chat_id"])), str(asked["text"])
        self.said.append((chat, text))
        what, number = [*text.split(), ""][:2]
        if what in ("bought", "sold"):
            self._done.append(Done(f"{what} {chat}", int(number), time.monotonic()))
        elif what == "limit":
            self._done.append(Done("limit", int(number), time.monotonic()))
        elif what == "report" and not self._silent.is_set():
            self._done.append(Done("report", int(number), time.monotonic()))
        there = {"id": chat, "type": "private"}
        message = {"message_id": len(self.said), "date": int(time.time()), "text": text, "chat": there}
        return web.json_response({"ok": True, "result": message})
