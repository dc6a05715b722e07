"""Runs an engine in an asyncio loop.

`_advance` does the steps that need no waiting: a tick whose handler is a plain function, or the first step of a new
leader. It is called from two places. While the coroutine sleeps, the loop's call-backs for sockets and alarms call it:
waking the coroutine costs another round of the loop, in each tick and in a handoff's blackout. Whenever the coroutine
is awake, it calls `_advance` itself. Only the coroutine awaits what handlers return.

Call-backs run the handlers in the coroutine's own context, so that a handler finds there what the others have set.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Any

from ..engine.engine import Engine
from ..engine.steps import TurnStep
from .interfaces import Runtime, rest

__all__ = ["AsyncioRunner"]

_AT_ONCE = 2
"""Steps in one call: `on_lead` and the first tick after it, or a tick and what waited for it."""


class AsyncioRunner:
    """Runs `engine` in `runtime` in the running loop. `context` is that of the task that awaits `run`."""

    def __init__(self, engine: Engine, runtime: Runtime, context: Context) -> None:
        self._engine = engine
        self._runtime = runtime
        self._call_in_context = partial(context.run, self._call)
        self._sleeper: asyncio.Future[None] | None = None
        self._woken = False
        """Something came in that no call to `_advance` has seen."""
        self._awaiting = False
        self._starting: asyncio.Future[Any] | None = None
        self._waits: tuple[TurnStep, Awaitable[Any]] | None = None
        """A step that was called and has to be awaited."""
        runtime.open(asyncio.get_running_loop(), engine, self._on_input, self._before_alarm)

    async def run(self) -> None:
        """Run until this worker has left."""
        resting = False
        while self._engine.left is None or self._waits is not None:
            if self._waits is None:
                self._runtime.look()
                resting = self._advance(self._call)
            if self._waits is not None:
                (step, value), self._waits = self._waits, None
                await self._finish(step, value)
                resting = self._rests_after_turn()
            if resting:
                await self._sleep()
            else:
                # However busy the bot is with its turns, its own tasks must get on too.
                await asyncio.sleep(0)

    def _advance(self, call: Callable[[TurnStep], Awaitable[Any] | None]) -> bool:
        """Do what is due; return whether there is nothing to do until something comes in or the alarm rings."""
        for _ in range(_AT_ONCE):
            step = self._engine.next_step()
            if step is None:
                return rest(self._engine, self._runtime)
            value = call(step)
            if value is not None:
                self._waits = step, value
                return False
            if self._rests_after_turn():
                return True
        return False

    def _rests_after_turn(self) -> bool:
        """What `rest` comes to after an ordinary turn, at once; False also when that is not certain."""
        at = self._engine.rests_until()
        if not at or self._runtime.look():
            return False
        self._runtime.ring_at(at, self._engine.lead)
        return True

    # --- a step -----------------------------------------------------------------------------------------------------

    def _call(self, step: TurnStep) -> Awaitable[Any] | None:
        """Call the step; return what is still to be awaited."""
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
                # It may wait for ever, and then the worker is ordered to leave.
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
        if not self._woken:
            self._sleeper = asyncio.get_running_loop().create_future()
            try:
                await self._sleeper
            finally:
                self._sleeper = None
        self._woken = False

    def _before_alarm(self) -> None:
        if self._sleeper is not None:
            # What is due will be done in the call-back, so that nothing comes in between.
            self._engine.make_ready()

    def _on_input(self) -> None:
        """Something came in, or the alarm rang."""
        self._woken = True
        sleeper = self._sleeper
        if sleeper is not None and not sleeper.done():
            problem = None
            resting = False
            try:
                resting = self._advance(self._call_in_context)
            except Exception as raised:
                problem = raised
            # What was called may have cancelled the coroutine.
            if problem is not None and not sleeper.done():
                sleeper.set_exception(problem)
            elif resting:
                self._woken = False
            elif not sleeper.done():
                sleeper.set_result(None)
        if self._awaiting:
            self._engine.on_time()
            self._runtime.ring_at(self._engine.wake_at(), 0)
            if self._starting is not None and self._engine.leaves:
                self._starting.cancel()
