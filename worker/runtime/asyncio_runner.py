"""The driver: runs an engine in an asyncio loop.

One coroutine takes step after step and awaits what the bot's handlers return; between and beneath them the loop calls
back for sockets and alarms. The coroutine sleeps until one of those has something for it.

Most of what comes needs no waiting: a tick whose handler is a plain function, or the first step of a new leader. That
is done in the call-back itself and the coroutine sleeps on, because waking it costs another round of the loop, in a
tick and in a handoff's blackout. It is done in the coroutine's own context, so that a handler finds there what the
others have set.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from contextvars import Context
from typing import Any

from ..engine.engine import Engine
from ..engine.steps import TurnStep
from .interfaces import Runtime

__all__ = ["AsyncioRunner"]

_AT_ONCE = 2
"""Steps in one call-back: `on_lead` and the first tick after it, or a tick and what waited for it."""


class AsyncioRunner:
    """Runs `engine` in `runtime` in the running loop.

    `context` is that of the task which awaits `run`; without it nothing is done in call-backs.
    """

    def __init__(self, engine: Engine, runtime: Runtime, context: Context | None = None) -> None:
        self._engine = engine
        self._runtime = runtime
        self._context = context
        self._sleeper: asyncio.Future[None] | None = None
        self._stirred = False
        self._awaiting = False
        self._starting: asyncio.Future[Any] | None = None
        self._fresh = True
        """The loop has had its turn since the last step."""
        self._waits: tuple[TurnStep, Awaitable[Any]] | None = None
        """A step that was called and has to be awaited."""
        runtime.open(asyncio.get_running_loop(), engine, self._stir, self._nears)

    async def run(self) -> None:
        """Run until this worker has left."""
        while (step := await self.next_step()) is not None:
            await self._carry_out(step)

    async def next_step(self) -> TurnStep | None:
        """Wait for the next step; None when this worker has left."""
        engine, runtime = self._engine, self._runtime
        while True:
            if self._waits is not None:
                (step, value), self._waits = self._waits, None
                await self._finish(step, value)
            runtime.look()
            step = engine.next_step()
            if step is not None:
                return step
            if engine.left is not None:
                return None
            if engine.idle():
                await asyncio.sleep(0)
                continue
            if runtime.look():
                # Sending may use up the ring of what arrives meanwhile.
                continue
            runtime.ring_at(engine.wake_at(), engine.lead)
            await self._sleep()

    # --- a step -----------------------------------------------------------------------------------------------------

    async def _carry_out(self, step: TurnStep) -> None:
        """Do what the bot's code has to do."""
        if not self._fresh:
            # However busy the bot is with its turns, its own tasks must get on too.
            await asyncio.sleep(0)
        value = self._call(step)
        if value is not None:
            await self._finish(step, value)

    def _call(self, step: TurnStep) -> Awaitable[Any] | None:
        """Call the step; return what is still to be awaited."""
        self._fresh = False
        try:
            value = step.call()
            if value is not None and inspect.isawaitable(value):
                return value
        except BaseException as problem:
            self._raised(step, problem)
        else:
            self._engine.done(step, value)
        return None

    async def _finish(self, step: TurnStep, value: Awaitable[Any]) -> None:
        """Await what a step returned."""
        self._awaiting = True
        self._runtime.ring_at(self._engine.wake_at(), 0)
        try:
            if step.name in ("on_start", "on_load"):
                # It may wait for ever, and then be told to leave.
                self._starting = asyncio.ensure_future(value)
                returned = await self._starting
            else:
                returned = await value
        except BaseException as problem:
            self._raised(step, problem)
        else:
            self._engine.done(step, returned)
        finally:
            self._starting = None
            self._awaiting = False

    def _raised(self, step: TurnStep, problem: BaseException) -> None:
        if isinstance(problem, asyncio.CancelledError):
            if self._engine.leaves and step.turn is None:
                self._engine.cut_off(step)
                return
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise problem
        self._engine.raised(step, problem)
        if isinstance(problem, GeneratorExit) and self._engine.left is None:
            # This coroutine is being closed, and may await nothing more.
            raise problem

    # --- sleeping, and being woken ----------------------------------------------------------------------------------

    async def _sleep(self) -> None:
        if not self._stirred:
            self._sleeper = asyncio.get_running_loop().create_future()
            try:
                await self._sleeper
            finally:
                self._sleeper = None
        self._stirred = False
        self._fresh = True

    def _nears(self) -> None:
        if self._sleeper is not None and self._context is not None:
            # What is due will be done in the call-back, so that nothing comes in between.
            self._engine.make_ready()

    def _stir(self) -> None:
        """Something came in, or the alarm rang."""
        self._stirred = True
        sleeper = self._sleeper
        if sleeper is not None and not sleeper.done():
            problem = None
            asleep = False
            try:
                asleep = self._done_here()
            except Exception as raised:
                problem = raised
            # What was called may have cancelled the coroutine.
            if problem is not None and not sleeper.done():
                sleeper.set_exception(problem)
            elif not asleep and not sleeper.done():
                sleeper.set_result(None)
        if self._awaiting:
            self._engine.on_time()
            self._runtime.ring_at(self._engine.wake_at(), 0)
            if self._starting is not None and self._engine.leaves:
                self._starting.cancel()

    def _done_here(self) -> bool:
        """Do what is due; return whether the coroutine may sleep on."""
        if self._context is None:
            return False
        engine, runtime = self._engine, self._runtime
        for _ in range(_AT_ONCE):
            step = engine.next_step()
            if step is None:
                break
            value = self._context.run(self._call, step)
            if value is not None:
                self._waits = step, value
                return False
            at = engine.rests_until()
            if at and not runtime.look():
                runtime.ring_at(at, engine.lead)
                self._stirred = False
                self._fresh = True
                return True
        else:
            # The rest is the coroutine's, which gives way in between.
            return False
        if engine.left is not None or engine.idle() or runtime.look():
            return False
        runtime.ring_at(engine.wake_at(), engine.lead)
        self._stirred = False
        self._fresh = True
        return True
