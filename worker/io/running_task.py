"""One run of a task or thread of the bot.

Whatever it raises ends in this object, and never in the event loop or the interpreter's hook for threads. The only
exception is KeyboardInterrupt in a task, which is a signal to the process.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["RunningTask", "RunningThread", "TaskHandle"]


class RunningTask:
    """A coroutine function that runs as a task of `loop`. Calls `ended()` in the loop at its end."""

    def __init__(
        self,
        name: str,
        target: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[], None],
    ) -> None:
        self.told = False
        """It was told to end."""
        self.done = False
        self.problem: BaseException | None = None
        """What it raised; None when it returned, or ended because it was told to."""
        self._ended = ended
        self._task = loop.create_task(self._run(target, args), name=name)
        self._task.add_done_callback(self._note)

    def end(self) -> None:
        """Cancel it."""
        self.told = True
        self._task.cancel()

    def join(self, within: float) -> None:
        """Nothing to wait for without its loop."""

    async def _run(self, target: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        try:
            await target(*args)
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as problem:
            self.problem = problem

    def _note(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if not self.told:
                self.problem = asyncio.CancelledError("cancelled by code of the bot")
        else:
            self.problem = self.problem or task.exception()
        self.done = True
        self._ended()


class RunningThread:
    """A plain function that runs as a daemon thread; its first argument is the event that tells it to end.

    Calls `ended()` in that thread at its end.
    """

    def __init__(
        self, name: str, target: Callable[..., Any], args: tuple[Any, ...], ended: Callable[[], None]
    ) -> None:
        self.told = False
        self.done = False
        self.problem: BaseException | None = None
        self._ended = ended
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(target, args), name=name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Set its event."""
        self.told = True
        self._stop.set()

    def join(self, within: float) -> None:
        """Wait for its end."""
        self._thread.join(within)

    def _run(self, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            value = target(self._stop, *args)
            if inspect.iscoroutine(value):
                value.close()
                raise TypeError(
                    "it returned a coroutine, which nothing awaits: pass the coroutine function itself"
                )
        except BaseException as problem:
            self.problem = problem
        finally:
            self.done = True
            self._ended()


TaskHandle = RunningTask | RunningThread
