"""Tasks and threads of the bot that run as long as its process leads.

The bot declares them with `while_leading`. They start when `on_lead` has returned, and are told to end before this
process lets go of the lease; see `yield_preparation`. One that ends by itself is logged and reported. It starts again
after a pause that grows, or counts as unhealthy, as its declaration says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...protocol.duration import SECOND, about
from ...protocol.link import TaskReport
from ...protocol.text import clean
from ..io.clock import Clock
from ..io.output import report, report_exception
from ..io.release_dir import describe
from ..io.running_task import RunningTask, RunningThread, TaskHandle
from ..model.task_declaration import TaskDeclaration, TaskError

__all__ = ["LeadTasks"]

_PAUSES = (SECOND // 4, SECOND, 2 * SECOND, 5 * SECOND, 15 * SECOND, 60 * SECOND)
"""The pause before the next start, after each end by itself in a row."""
_LASTING = 60 * SECOND
"""An end after so long a run is the first in a row."""
_LONGEST_ERROR = 300


class LeadTask:
    """One declared task, and its present run. `handler` declared it, in its run number `call`."""

    def __init__(self, declaration: TaskDeclaration, handler: str, call: int) -> None:
        self.declaration = declaration
        self.handler = handler
        self.call = call
        self.removed = False
        self.reset()
        self.handle: TaskHandle | None = None

    def reset(self) -> None:
        """Forget how it went, because this process comes to lead."""
        self.state = "starting"
        self.since = 0
        self.began = 0
        self.next_start = 0
        """When it starts again, CLOCK_MONOTONIC ns; 0 for at once."""
        self.restarts = 0
        self.row = 0
        self.error = ""
        self.failed = 0
        self.raised = False

    @property
    def title(self) -> str:
        return f"{self.declaration.kind} {self.declaration.name}"


class LeadTasks:
    """All tasks of one worker. `wake()` makes the driver of the engine look; callable from any thread."""

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self.dirty = False
        """A task has ended: call `look`."""
        self.next_start = 0
        """When the next task starts again, CLOCK_MONOTONIC ns; 0 for none."""
        self.loop: Callable[[], asyncio.AbstractEventLoop | None] = _running_loop
        """The event loop of coroutines, None for a bot without one."""
        self.threads = True
        """Whether threads run; not in a simulation, which would not be the same each time."""
        self._clock = clock
        self._wake = wake
        self._tasks: dict[str, LeadTask] = {}
        self._removed: list[LeadTask] = []
        """Tasks that are not declared any more, and have not ended."""
        self._active = False
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._tasks or self._removed)

    # --- declarations -----------------------------------------------------------------------------------------------

    def declare(self, declaration: TaskDeclaration, handler: str, call: int) -> None:
        """Add a task. Raises `TaskError` if its name is taken.

        A handler that runs again declares its tasks again: one that is the same goes on, another one replaces it.
        """
        name = declaration.name
        known = self._tasks.get(name)
        if known is not None and (known.handler != handler or known.call == call):
            where = f" in {known.handler}" if known.handler != handler else ""
            raise TaskError(
                f"there is a task {name} already, declared{where}: give each a name of its own, as in "
                f'while_leading(…, name="{name}-2")'
            )
        if known is not None and known.declaration.same(declaration):
            known.call = call
            return
        if known is not None:
            self._remove(known)
        self._tasks[name] = LeadTask(declaration, handler, call)
        self._note_end()

    def declared(self, handler: str, call: int) -> None:
        """`handler` has returned: remove the tasks that it declared in an earlier run only."""
        for task in list(self._tasks.values()):
            if task.handler == handler and task.call != call:
                self._remove(task)

    def refuse_coroutines(self) -> None:
        """Raise `TaskError` if a coroutine function is declared: this bot has no event loop."""
        for task in self._tasks.values():
            if not task.declaration.thread:
                raise TaskError(
                    f"task {task.declaration.name} is a coroutine function, which needs an event loop: iterate with "
                    "`async for`, or pass a plain function, which runs as a thread"
                )

    def _remove(self, task: LeadTask) -> None:
        self._tasks.pop(task.declaration.name, None)
        if task.handle is not None:
            task.removed = True
            task.handle.end()
            self._removed.append(task)

    # --- with the lead ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """This process leads, and `on_lead` has returned: start all."""
        for task in self._tasks.values():
            task.reset()
        self.go_on()

    def go_on(self) -> None:
        """This process leads on: start again what was told to end."""
        self._active = True
        self._note_end()

    def end(self) -> int:
        """Tell all to end, and start none again; return how many run."""
        anew, self._active = self._active, False
        self.next_start = 0
        running = [task for task in (*self._tasks.values(), *self._removed) if task.handle is not None]
        for task in running:
            # One that did not end for an earlier order is told again. A second time for one order would interrupt it.
            if task.handle is not None and (anew or not task.handle.told):
                task.handle.end()
                self._enter(task, "ending")
        return len(running)

    @property
    def running(self) -> list[str]:
        """Those that have not ended, by kind and name. Also while they are told to end."""
        every = (*self._tasks.values(), *self._removed)
        return [task.title for task in every if task.handle is not None and not task.handle.done]

    @property
    def ending(self) -> bool:
        """Whether any was told to end, and has not."""
        every = (*self._tasks.values(), *self._removed)
        return any(task.handle is not None and task.handle.told and not task.handle.done for task in every)

    def join(self, within: float) -> None:
        """Wait, at most so many seconds each, for threads that were told to end."""
        for task in (*self._tasks.values(), *self._removed):
            if task.handle is not None:
                task.handle.join(within)
        # What `wake` signals is about to be closed.
        self._closed = True

    def look(self) -> bool:
        """Handle tasks that have ended, and start those that are due; return whether anything changed."""
        self.dirty = False
        changed = False
        for task in [task for task in self._removed if task.handle is not None and task.handle.done]:
            self._removed.remove(task)
            changed = True
        now = self._clock.mono()
        self.next_start = 0
        for task in self._tasks.values():
            if task.handle is not None and task.handle.done:
                self._ended(task, task.handle, now)
                changed = True
            if task.handle is not None or not self._active or task.state == "unhealthy":
                continue
            if any(removed.declaration.name == task.declaration.name for removed in self._removed):
                # The one that it replaces has not ended.
                continue
            if task.next_start > now:
                self.next_start = min(self.next_start or task.next_start, task.next_start)
            else:
                self._start(task, now)
                changed = True
        return changed

    def report(self) -> tuple[TaskReport, ...]:
        """All tasks, for the supervisor."""
        return tuple(
            TaskReport(
                task.declaration.name,
                task.declaration.kind,
                task.state,
                task.since,
                task.restarts,
                task.error,
                task.failed,
                task.row,
                task.raised,
            )
            for task in (*self._tasks.values(), *self._removed)
        )

    # --- one task ---------------------------------------------------------------------------------------------------

    def _start(self, task: LeadTask, now: int) -> None:
        declaration = task.declaration
        if declaration.thread and not self.threads:
            self._enter(task, "not run")
            return
        if task.state == "restarting":
            task.restarts += 1
        task.began = now
        task.next_start = 0
        self._enter(task, "running")
        loop = self.loop()
        name, target, args = declaration.name, declaration.target, declaration.args
        try:
            if declaration.thread:
                task.handle = RunningThread(name, target, args, self._note_end)
            elif loop is not None:
                task.handle = RunningTask(name, target, args, loop, self._note_end)
            else:
                self.refuse_coroutines()
        except Exception as problem:
            # Such as a process that may have no more threads.
            self._failed(task, problem, now)

    def _ended(self, task: LeadTask, handle: TaskHandle, now: int) -> None:
        task.handle = None
        if not handle.told:
            self._failed(task, handle.problem, now)
            return
        if handle.problem is not None:
            report(f"neverblink: {task.title} was told to end, and raised {describe(handle.problem)}")
            report_exception(handle.problem)
        task.next_start = 0
        self._enter(task, "starting")

    def _failed(self, task: LeadTask, problem: BaseException | None, now: int) -> None:
        """A task has ended by itself."""
        task.row = 1 if now - task.began >= _LASTING else task.row + 1
        task.raised = problem is not None
        how = f"raised {describe(problem)}" if problem is not None else "returned"
        task.error = _short(clean(how))
        task.failed = self._clock.wall()
        if task.declaration.on_end == "unhealthy":
            self._enter(task, "unhealthy")
            then = "it is not started again, and the bot counts as unhealthy"
        else:
            pause = _PAUSES[min(task.row, len(_PAUSES)) - 1]
            task.next_start = now + pause
            self.next_start = min(self.next_start or task.next_start, task.next_start)
            self._enter(task, "restarting")
            then = f"it starts again in {about(pause)}"
        report(f"ERROR: neverblink: {task.title} {how}: {then}")
        if problem is not None:
            report_exception(problem)

    def _enter(self, task: LeadTask, state: str) -> None:
        if task.state != state:
            task.state, task.since = state, self._clock.wall()

    def _note_end(self) -> None:
        self.dirty = True
        if not self._closed:
            self._wake()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]}…"
