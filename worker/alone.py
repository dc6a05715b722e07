"""Runs a bot by its name without a supervisor, for `neverblink run`."""

from __future__ import annotations

import asyncio
import inspect

from ..protocol.errors import NeverblinkError
from .io.output import report_exception
from .main import find
from .runtime.asyncio_runner import complain, run_alone
from .worker import WorkerBot

__all__ = ["run_by_name"]


def run_by_name(target: str) -> int:
    """Run the bot `target` ("MODULE:NAME") alone until Ctrl-C or its end; return the exit status."""
    try:
        found = find(target)
    except NeverblinkError as problem:
        return complain(problem.message)
    except Exception as problem:
        report_exception(problem)
        return complain(f"importing {target.partition(':')[0]} failed")
    if isinstance(found, type):
        run_alone(found.__name__, lambda: WorkerBot(found))
    returned = found()
    if inspect.iscoroutine(returned):
        asyncio.run(returned)
    return 0
