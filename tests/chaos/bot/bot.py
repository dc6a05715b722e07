"""A bot that buys each contract once: one in every tenth of a second, in two halves, within a decision.

It does what a careful bot does: after a death it asks the exchange about the decisions in doubt. When the exchange
hangs up, it reconnects and receives all fills again.

With CHAOS_EVENT_DRIVEN it has no ticks: a timer in its state takes their part.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
from flaw import FLAW  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

from neverblink.worker import Event, InDoubt, Table, Tick, Timer, Worker

PERIOD = 100_000_000
STEP = "5ms"
EVENT_DRIVEN = "CHAOS_EVENT_DRIVEN" in os.environ


class Book(msgspec.Struct):
    quiet: bool = False
    ticks: int = 0
    entered: int = 0
    """The period of the last contract bought."""
    orders: Table[str, str] = msgspec.field(default_factory=Table)
    """Each order's client id, and its contract."""
    fills: Table[str, int] = msgspec.field(default_factory=Table)
    held: int = 0


class Exchange:
    """The way to the exchange. `filled(fill, size)` is called for each fill, again and again after a hang-up."""

    def __init__(self, path: str, filled: Callable[[str, int], None]) -> None:
        self._path = path
        self._filled = filled
        self._asked = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path)
                break
            except OSError:
                await asyncio.sleep(0.02)
        self._reading = asyncio.create_task(self._read(reader))

    async def ask(self, do: str, **more: Any) -> Any:
        """The exchange's answer. Raises `ConnectionError` when it hung up: the outcome is unknown then."""
        if self._writer is None or self._writer.is_closing():
            raise ConnectionError
        self._asked += 1
        answer = self._answers[self._asked] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"n": self._asked, "do": do, **more}).encode() + b"\n")
        return await answer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if "fill" in message:
                    self._filled(message["fill"], message["size"])
                elif (answer := self._answers.pop(message["n"], None)) is not None and not answer.done():
                    answer.set_result(message)
        except OSError:
            pass
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError())
        self._answers.clear()
        await self.connect()


class Trader(Worker[Book]):
    tick = None if EVENT_DRIVEN else STEP
    heartbeat = "50ms" if EVENT_DRIVEN else "1s"

    async def on_start(self) -> None:
        if FLAW == "start":
            raise RuntimeError("this code does not start")
        self.ran = 0
        self.exchange = Exchange(
            os.environ["CHAOS_EXCHANGE"], lambda fill, size: self.inbox.put(fill, {"size": size})
        )
        await self.exchange.connect()

    async def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        if EVENT_DRIVEN:
            self.set_timer("step", every=STEP)
        entries = [decision for decision in in_doubt if decision.name == "enter"]
        if not entries:
            return
        # Its id carries this epoch: from here on the exchange takes nothing from an older one, which may be on its way.
        async with self.decision("settle") as mine:
            for decision in entries:
                contract = str(decision.args["contract"])
                if await self.settle(decision.id, contract, fence=mine.id):
                    self.note(decision.id, contract)

    async def on_tick(self, tick: Tick[Book]) -> None:
        await self.step(tick.due, f"tick {tick.seq}")

    async def on_timer(self, timer: Timer) -> None:
        await self.step(timer.due, timer.name)

    async def step(self, due: int, name: str) -> None:
        self.state.ticks += 1
        self.ran += 1
        # As bots do: what becomes of the line is nothing that a tick may depend on.
        print(f"{name}: {len(self.state.orders)} orders, holds {self.state.held}", flush=True)
        if self.ran == 3 and FLAW == "tick":
            raise RuntimeError("this code does not tick")
        if self.ran == 3 and FLAW == "hang":
            time.sleep(3600)  # noqa: ASYNC251
        period = due // PERIOD
        if period > self.state.entered and not self.state.quiet and not self.paused:
            contract = f"BTC-c-{period}"
            async with self.decision("enter", contract=contract) as decision:
                await self.settle(decision.id, contract)
                self.note(decision.id, contract)

    async def settle(self, id: str, contract: str, fence: str = "") -> bool:
        """See both halves of an order through; with a `fence`, only what there is of it. Returns whether it stands."""
        new = not fence
        while True:
            try:
                order = "" if new else (await self.exchange.ask("find", id=id, fence=fence))["order"]
                if not order and fence:
                    return False
                order = order or (await self.exchange.ask("reserve", id=id, contract=contract))["order"]
                await self.exchange.ask("confirm", order=order)
                return True
            except ConnectionError:
                new = False
                await asyncio.sleep(0.01)

    def note(self, id: str, contract: str) -> None:
        self.state.orders[id] = contract
        self.state.entered = max(self.state.entered, int(contract.rpartition("-")[2]))

    def on_event(self, event: Event) -> None:
        self.state.fills[event.key] = event.data["size"]
        self.state.held += event.data["size"]

    def on_command(self, name: str, args: dict[str, Any]) -> Any:
        if name == "quiet":
            self.state.quiet = True
        return {
            "pid": os.getpid(),
            "ticks": self.state.ticks,
            "orders": dict(self.state.orders.items()),
            "fills": dict(self.state.fills.items()),
            "held": self.state.held,
        }
