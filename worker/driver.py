"""The driver: runs an engine in an asyncio loop.

One coroutine takes step after step and awaits what the bot's handlers return; between and beneath them the loop calls
back for sockets and alarms. The coroutine sleeps until one of those has something for it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

from .engine import Engine
from .place import Place
from .steps import Step

__all__ = ["Driver"]


class Driver:
    """Runs `engine` in `place` in the running loop."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self._engine = engine
        self._place = place
        self._sleeper: asyncio.Future[None] | None = None
        self._stirred = False
        self._awaiting = False
        self._starting: asyncio.Future[Any] | None = None
        self._fresh = True
        """The loop has had its turn since the last step."""
        place.open(asyncio.get_running_loop(), engine, self._stir)

    async def run(self) -> None:
        """Run until this worker has left."""
        while (step := await self.next_step()) is not None:
            await self.carry_out(step)

    async def next_step(self) -> Step | None:
        """Wait for the next step; None when this worker has left."""
        engine, place = self._engine, self._place
        while True:
            place.look()
            step = engine.next_step()
            if step is not None:
                return step
            if engine.left is not None:
                return None
            if engine.idle():
                await asyncio.sleep(0)
                continue
            place.set_alarm()
            await self._sleep()

    async def carry_out(self, step: Step) -> None:
        """Do what the bot's code has to do."""
        engine = self._engine
        if not self._fresh:
            # However busy the bot is with its turns, its own tasks must get on too.
            await asyncio.sleep(0)
        self._fresh = False
        try:
            value = step.call()
            if inspect.isawaitable(value):
                value = await self._finish(step, value)
        except asyncio.CancelledError as problem:
            if engine.leaves and step.turn is None:
                engine.cut_off(step)
                return
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            engine.raised(step, problem)
        except (Exception, SystemExit) as problem:
            engine.raised(step, problem)
        else:
            engine.done(step, value)

    async def _finish(self, step: Step, value: Awaitable[Any]) -> Any:
        self._awaiting = True
        self._place.set_alarm()
        try:
            if step.name not in ("on_start", "on_load"):
                return await value
            # It may wait for ever, and then be told to leave.
            self._starting = asyncio.ensure_future(value)
            return await self._starting
        finally:
            self._starting = None
            self._awaiting = False

    async def _sleep(self) -> None:
        if not self._stirred:
            self._sleeper = asyncio.get_running_loop().create_future()
            try:
                await self._sleeper
            finally:
                self._sleeper = None
        self._stirred = False
        self._fresh = True

    def _stir(self) -> None:
        self._stirred = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)
        if self._awaiting:
            self._place.set_alarm()
            if self._starting is not None and self._engine.leaves:
                self._starting.cancel()
