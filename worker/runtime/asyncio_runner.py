"""Runs an engine in an asyncio loop: a bot that is a class, supervised or alone.

`_advance` does the steps that need no waiting: a tick whose handler is a plain function, or the first step of a new
leader. It is called from two places. While the coroutine sleeps, the loop's callbacks for sockets and alarms call it,
because waking the coroutine costs another round of the loop, in each tick and in a handoff's blackout. While the
coroutine is awake, it calls `_advance` itself. Only the coroutine awaits the results of handlers.

Callbacks run the handlers in the coroutine's own context, so that handlers share their context variables.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Any, NoReturn

from ...protocol import duration
from ...protocol.errors import NeverblinkError
from ...protocol.link import Stop
from ..engine.engine import Engine
from ..engine.turns import HookTimeout, TurnStep
from ..io.output import report
from ..io.precise_loop import PreciseLoop, default_policy_in_force
from ..io.release_dir import describe
from .bootstrap import Bootstrap, Runnable, alone, refuse_in_import
from .interfaces import Runtime

__all__ = ["AsyncioRunner", "complain", "rest", "run_alone", "run_bot", "why_it_stopped"]

_CANCELLED_WITHIN = 0.05
_TASKS_EVERY = 0.002
_TASKS_WITHIN = 2.0
"""A process that leaves waits for the bot's tasks for this long, in seconds. Then its end is forced."""
_AT_ONCE = 2
"""Steps in one call: `on_lead` and the first tick after it, or a tick and the turn after it."""


class AsyncioRunner:
    """Runs `engine` in `runtime` in the running loop. `context` is that of the task that awaits `run`."""

    def __init__(self, engine: Engine, runtime: Runtime, context: Context) -> None:
        self._engine = engine
        self._runtime = runtime
        self._call_in_context = partial(context.run, self._call)
        self._sleeper: asyncio.Future[None] | None = None
        self._woken = False
        """Input has arrived since the last `_advance`."""
        self._awaiting = False
        self._starting: asyncio.Future[Any] | None = None
        self._waits: tuple[TurnStep, Awaitable[Any]] | None = None
        """A step whose result must be awaited."""
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
                # The bot's own tasks must run too, however busy it is with its turns.
                await asyncio.sleep(0)
        await self._end_tasks()

    async def _end_tasks(self) -> None:
        """Wait for the bot's tasks, which were told to end, so that another process can lead."""
        until = time.monotonic() + _TASKS_WITHIN
        while self._engine.tasks.running and time.monotonic() < until:  # noqa: ASYNC110 - threads end too
            await asyncio.sleep(_TASKS_EVERY)
        self._engine.release()

    def _advance(self, call: Callable[[TurnStep], Awaitable[Any] | None]) -> bool:
        """Do what is due; return whether there is nothing to do until input arrives or the alarm fires."""
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
        """The same as `rest` after an ordinary turn, but faster. False also when that is not certain."""
        at = self._engine.rests_until()
        if not at or self._runtime.look():
            return False
        self._runtime.ring_at(at, self._engine.lead)
        return True

    # --- a step -----------------------------------------------------------------------------------------------------

    def _call(self, step: TurnStep) -> Awaitable[Any] | None:
        """Call the step; return its result if that must be awaited."""
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
        """Await the result of a step."""
        self._awaiting = True
        self._runtime.ring_at(self._engine.wake_at(), 0)
        try:
            if step.name in ("on_start", "on_load", "on_state"):
                # It may wait forever, so it is cancelled when the worker is ordered to leave.
                self._starting = asyncio.ensure_future(value)
                returned = await self._starting
            elif step.within:
                returned = await _bounded(value, step.within)
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
            # The step will run in the callback of the alarm, directly after this.
            self._engine.make_ready()

    def _on_input(self) -> None:
        """Input has arrived, or the alarm has fired."""
        self._woken = True
        sleeper = self._sleeper
        if sleeper is not None and not sleeper.done():
            problem = None
            resting = False
            try:
                resting = self._advance(self._call_in_context)
            except Exception as raised:
                problem = raised
            # The step may have cancelled the coroutine.
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


async def _bounded(value: Awaitable[Any], within: int) -> Any:
    """The result of a hook that is cancelled after `within` ns. Raises `HookTimeout`."""
    hook = asyncio.ensure_future(value)
    await asyncio.wait({hook}, timeout=within / 1e9)
    if hook.done():
        return hook.result()
    hook.cancel()
    # It may refuse to end.
    await asyncio.wait({hook}, timeout=_CANCELLED_WITHIN)
    raise HookTimeout(f"took longer than {duration.about(within)} and was cancelled")


def rest(engine: Engine, runtime: Runtime) -> bool:
    """Without a step to do: set the alarm for what is due next; return whether to wait for it.

    False: there is something to do at once, because the engine uses its idle time or something has arrived.
    """
    # Sending may use up the signal of what arrives meanwhile, so look before waiting.
    if engine.left is not None or engine.idle() or runtime.look():
        return False
    runtime.ring_at(engine.wake_at(), engine.lead)
    return True


def run_alone(name: str, declare: Callable[[], Runnable]) -> NoReturn:
    """Run bot `name`, as `declare` returns it, without a supervisor until Ctrl-C or its end; exit with its status."""
    refuse_in_import()
    try:
        status = run_bot(declare(), alone(name))
    except NeverblinkError as problem:
        status = complain(problem.message)
    sys.exit(status)


def run_bot(bot: Runnable, bootstrap: Bootstrap) -> int:
    """Run a bot until it has left; return the exit status."""
    engine = bootstrap.engine(bot)
    context = contextvars.copy_context()

    running: asyncio.Task[Any] | None = None

    async def run() -> None:
        nonlocal running
        running = asyncio.current_task()
        runner = AsyncioRunner(engine, bootstrap.runtime, context)
        if not bootstrap.supervised:
            _stop_on_signals(lambda: (engine.ordered(Stop()), bootstrap.runtime.wake()))
        await runner.run()

    with asyncio.Runner(loop_factory=_new_loop if default_policy_in_force() else None) as loop:
        try:
            loop.run(run(), context=context)
        except BaseException as problem:
            if not bootstrap.supervised:
                raise
            # Before the end of the runner, which waits for all of the bot's tasks.
            engine.fail("run", why_it_stopped(problem, running), problem)
    assert engine.left is not None
    return 1 if engine.left.how == "fail" else 0


def why_it_stopped(problem: BaseException, running: asyncio.Task[Any] | None) -> str:
    """Why an event loop ended before the bot, although no handler raised."""
    match problem:
        case KeyboardInterrupt():
            return "it was interrupted (SIGINT, or a KeyboardInterrupt outside the bot's handlers)"
        case RuntimeError() if running is not None and not running.done():
            return "its event loop was stopped while the bot ran: do not call loop.stop()"
        case _:
            return f"{describe(problem)} was raised outside the bot's handlers while the bot ran"


def _new_loop() -> PreciseLoop:
    loop = PreciseLoop()
    asyncio.set_event_loop(loop)
    return loop


def complain(reason: str) -> int:
    report(f"neverblink: {reason}")
    return 1


def _stop_on_signals(stop: Callable[[], Any]) -> None:
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            # A second signal ends the process at once.
            loop.remove_signal_handler(number)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
