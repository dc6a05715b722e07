"""Runs a bot's class: supervised, or alone until Ctrl-C or its end."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ...protocol.errors import NeverblinkError
from ...protocol.link import Stop
from ..io.output import report
from ..io.precise_loop import PreciseLoop, runs_in_ours
from ..io.release_dir import describe
from .asyncio_runner import AsyncioRunner
from .bootstrap import Bootstrap, Runnable, alone

__all__ = ["complain", "run_alone", "run_bot", "why_it_stopped"]


def run_alone(name: str, declare: Callable[[], Runnable]) -> NoReturn:
    """Run bot `name`, as `declare` returns it, without a supervisor until Ctrl-C or its end; exit with its status."""
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

    with asyncio.Runner(loop_factory=_new_loop if runs_in_ours() else None) as loop:
        try:
            loop.run(run(), context=context)
        except BaseException as problem:
            if not bootstrap.supervised:
                raise
            # Said here and not after the runner's own end, which waits for all of the bot's tasks.
            engine.fail("run", why_it_stopped(problem, running), problem)
    assert engine.left is not None
    return 1 if engine.left.how == "fail" else 0


def why_it_stopped(problem: BaseException, running: asyncio.Task[Any] | None) -> str:
    """Why an event loop ended before the bot did, when no handler of the bot's has raised."""
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
            # A second one ends it where it stands.
            loop.remove_signal_handler(number)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
