"""The main function of a worker process: import the bot, make its runtime, and run it."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import os
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from ..protocol.assignment import (
    VARIABLE,
    Assignment,
    AssignmentError,
    decode_assignment,
)
from ..protocol.errors import NeverblinkError
from ..protocol.frame import Schema
from ..protocol.link import Failed
from ..protocol.text import clean
from .io.find_module import import_module
from .io.listening_sockets import inherit
from .io.output import capture_output, report_exception
from .io.release_dir import describe, make_read_only
from .io.start_watch import StartWatch
from .join import Joining, LoopFailed, bootstrap
from .runtime.asyncio_runner import complain, run_bot, why_it_stopped
from .runtime.bootstrap import Bootstrap, hello_of, importing
from .runtime.declaration import BotError
from .runtime.early_failure import report_early_failure
from .runtime.join_check import never_joins
from .runtime.supervised import SupervisedRuntime
from .worker import Worker, WorkerBot

__all__ = ["find", "run_assigned", "run_found"]

_LARGEST_ASSIGNMENT = 65536


def run_assigned(target: str) -> int:
    """Run the bot `target` ("MODULE:NAME") as the worker that the supervisor started; return the exit status."""
    began = time.monotonic_ns()
    me = _assignment()
    # First, because it needs certain numbers of descriptors.
    sockets = inherit(me.sockets, os.environ)
    output = capture_output(me)
    not_read_only = make_read_only(Path.cwd(), Path(me.journal))
    if not_read_only:
        complain(
            f"this release is writable for root ({not_read_only}): the next one has no file written here"
        )
    # Output of child processes and C code grows the log too, and the bot itself may print nothing.
    try:
        link = SupervisedRuntime(me, output.look, sockets)
    except NeverblinkError as problem:
        report_early_failure(me, clean(problem.message))
        return complain(problem.message)
    watch = StartWatch()
    try:
        watch.begin(f"importing {target.partition(':')[0]} has not ended")
        try:
            found = find(target)
        except NeverblinkError as problem:
            return _give_up(me, link, problem.message, "")
        except BaseException as problem:
            # Importing it may raise anything, SystemExit included.
            report_exception(problem)
            reason = f"importing {target.partition(':')[0]} failed: {describe(problem)}"
            return _give_up(me, link, reason, traceback.format_exc())
        finally:
            watch.end()
        seat = Bootstrap(me, link, began=began, supervised=True, output=output)
        try:
            return run_found(found, seat)
        except NeverblinkError as problem:
            # Its class, or the arguments of its `join`, are invalid.
            return _give_up(me, link, problem.message, "")
    finally:
        link.close()


def find(target: str) -> type[Worker[Any]] | Callable[[], Any]:
    """Import "MODULE:NAME" and return the object. Raises `BotError`, and what importing it raises."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise BotError(f"bot {target!r}: expected MODULE:NAME, such as bot:Foresight")
    if never_joins(module_name, name, Path.cwd()):
        raise BotError(
            f"bot {target}: {name} never joins: neither its module nor what that imports of this project imports "
            "neverblink.worker. Have it call join() and loop over the ticks, or write a Worker"
        )
    token = importing.set(module_name)
    try:
        module = import_module(module_name, f"bot {target}", BotError)
    finally:
        importing.reset(token)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise BotError(f"bot {target}: module {module_name} has no {part}{_hint(module, part)}")
        found = getattr(found, part)
    if isinstance(found, type) and issubclass(cast("type[Any]", found), Worker):
        return cast("type[Worker[Any]]", found)
    if inspect.isfunction(found):
        return found
    kind = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
    raise BotError(
        f"bot {target}: {name} is {kind}, expected a subclass of neverblink.worker.Worker, or a function that uses "
        f"join(){_hint(module, name)}"
    )


def run_found(found: type[Worker[Any]] | Callable[[], Any], seat: Bootstrap) -> int:
    """Run the result of `find` until it has left; return the exit status. Raises what its declaration raises."""
    return run_bot(WorkerBot(found), seat) if isinstance(found, type) else _run_function(found, seat)


# --- running --------------------------------------------------------------------------------------------------------


def _run_function(function: Callable[[], Any], seat: Bootstrap) -> int:
    joining = Joining(seat)
    joining.watch.begin(f"{function.__qualname__} has not called join()")
    token = bootstrap.set(joining)
    try:
        returned = function()
        if inspect.iscoroutine(returned):
            return _run_coroutine(function, returned, joining)
        return _returned(function, joining)
    except BaseException as problem:
        return _raised(function, problem, joining)
    finally:
        joining.watch.end()
        bootstrap.reset(token)


def _run_coroutine(function: Callable[[], Any], coroutine: Coroutine[Any, Any, Any], joining: Joining) -> int:
    running: asyncio.Task[Any] | None = None

    async def run() -> None:
        nonlocal running
        running = asyncio.current_task()
        await coroutine

    with asyncio.Runner() as runner:
        try:
            runner.run(run())
        except BaseException as problem:
            if running is not None and not running.done() and joining.loop is not None:
                return joining.loop.raised(problem, stopped=why_it_stopped(problem, running))
            return _raised(function, problem, joining)
        return _returned(function, joining)


def _returned(function: Callable[[], Any], joining: Joining) -> int:
    """Report that the function has returned, at once, because its process may take a while to end."""
    if joining.loop is None:
        reason = (
            f"{function.__qualname__} returned without having called join(): call it and loop over the ticks"
        )
        return _give_up(joining.bootstrap.me, joining.bootstrap.runtime, reason, "")
    return joining.loop.returned()


def _raised(function: Callable[[], Any], problem: BaseException, joining: Joining) -> int:
    if isinstance(problem, LoopFailed):
        return 1
    if joining.loop is not None:
        return joining.loop.raised(problem)
    report_exception(problem)
    reason = f"{function.__qualname__} raised {describe(problem)}"
    return _give_up(joining.bootstrap.me, joining.bootstrap.runtime, reason, traceback.format_exc())


def _give_up(me: Assignment, runtime: Any, reason: str, trace: str) -> int:
    """Report to the supervisor that this bot cannot run; return the exit status."""
    runtime.tell(hello_of(me, Schema(0, ""), 0, ()))
    runtime.tell(Failed("import", clean(reason), clean(trace)))
    runtime.expect_exit(1)
    return complain(reason)


# --- parts ----------------------------------------------------------------------------------------------------------


def _assignment() -> Assignment:
    value = os.environ.pop(VARIABLE, "")
    try:
        descriptor = int(value)
        with open(descriptor, "rb") as pipe:
            return decode_assignment(pipe.read(_LARGEST_ASSIGNMENT))
    except (ValueError, OSError):
        raise AssignmentError(
            f"{VARIABLE} is {value!r}: `python -m neverblink.worker` is what the supervisor runs; "
            "start a bot with `neverblink up`, or alone with `python bot.py`"
        ) from None


def _hint(module: ModuleType, name: str) -> str:
    bots = [
        known
        for known, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Worker) and value is not Worker
    ]
    near = difflib.get_close_matches(name, bots or [known for known in vars(module) if known[0] != "_"], 1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; it has {', '.join(sorted(bots))}" if bots else ""
