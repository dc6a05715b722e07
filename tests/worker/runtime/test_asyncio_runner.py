"""The driver: plain handlers run in call-backs of the loop, and can't tell."""

from __future__ import annotations

from pathlib import Path

from ..standalone_process import StandaloneProcess

_BOT = """
import asyncio
import contextvars

import msgspec

from neverblink.worker import Worker

market = contextvars.ContextVar("market", default="unset")


class Book(msgspec.Struct):
    ticks: int = 0


class Bot(Worker[Book]):
    tick = "10ms"

{handlers}

Bot.run()
"""


def test_plain_handlers_share_context_variables(tmp_path: Path) -> None:
    handlers = """
    def on_start(self):
        market.set("BTC")

    def on_tick(self, tick):
        self.state.ticks += 1
        if self.state.ticks == 3:
            print("a tick for", market.get(), flush=True)
            market.set("ETH")
        if self.state.ticks == 5:
            print("then for", market.get(), flush=True)
"""
    with StandaloneProcess(tmp_path, _BOT.format(handlers=handlers)) as bot:
        bot.wait_for("a tick for BTC")
        bot.wait_for("then for ETH")
        assert bot.interrupt().status == 0


def test_tasks_of_a_plain_handler_run_between_ticks(tmp_path: Path) -> None:
    handlers = """
    def on_tick(self, tick):
        self.state.ticks += 1
        if self.state.ticks == 1:
            self.task = asyncio.get_running_loop().create_task(self.wait())

    async def wait(self):
        began = self.state.ticks
        while self.state.ticks < began + 3:
            await asyncio.sleep(0.001)
        print("it got on", flush=True)
"""
    with StandaloneProcess(tmp_path, _BOT.format(handlers=handlers)) as bot:
        bot.wait_for("it got on")
        assert bot.interrupt().status == 0


def test_an_awaitable_from_a_plain_handler_is_awaited(tmp_path: Path) -> None:
    handlers = """
    def on_tick(self, tick):
        self.state.ticks += 1
        return self.slowly() if self.state.ticks == 2 else None

    async def slowly(self):
        await asyncio.sleep(0.001)
        self.state.ticks += 10
        print("changed in a turn", flush=True)
"""
    with StandaloneProcess(tmp_path, _BOT.format(handlers=handlers)) as bot:
        bot.wait_for("changed in a turn")
        assert bot.interrupt().status == 0


def test_a_plain_handler_that_raises_ends_the_process_with_its_traceback(tmp_path: Path) -> None:
    handlers = """
    def on_tick(self, tick):
        self.state.ticks += 1
        if self.state.ticks == 3:
            raise SystemExit("it had enough")
"""
    with StandaloneProcess(tmp_path, _BOT.format(handlers=handlers)) as bot:
        ended = bot.end()
    assert ended.status == 1
    assert "it had enough" in ended.errors
