"""A Python prompt with the bot's module and its state, for `neverblink shell`."""

from __future__ import annotations

import builtins
import code
import contextlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

from ..protocol.assignment import SHELL_STATE
from ..protocol.errors import NeverblinkError
from .check import replica_of
from .io.output import report_exception
from .main import find
from .runtime.asyncio_runner import complain
from .worker import Worker, WorkerBot

__all__ = ["open_shell"]


class ShellState(msgspec.Struct, frozen=True):
    """Where the shell finds the bot's state. `plain` is the file of an export, for a bot that is a function."""

    journal: str = ""
    plain: str = ""
    about: str = ""
    """Whose state it is, for people."""


def open_shell(target: str, command: str | None) -> int:
    """Run `command`, or read commands from standard input, with the bot `target` imported; return the exit status."""
    told = os.environ.pop(SHELL_STATE, "")
    place = msgspec.json.decode(told, type=ShellState) if told else ShellState()
    try:
        found = find(target)
    except NeverblinkError as problem:
        return complain(problem.message)
    except Exception as problem:
        report_exception(problem)
        return complain(f"importing {target.partition(':')[0]} failed")
    module = target.partition(":")[0]
    names: dict[str, Any] = {
        "__name__": "__console__",
        "__doc__": None,
        module.partition(".")[0]: sys.modules[module.partition(".")[0]],
        found.__name__: found,
        "state": None,
    }
    about, problem = "there is no state yet", ""
    if place.journal or place.plain:
        try:
            names["state"] = _state(found, place)
            about = place.about
        except NeverblinkError as unreadable:
            problem = unreadable.message
    if problem:
        complain(f"the state cannot be read by this code: {problem}")
    if command is not None:
        return _run(command, names)
    _complete(names)
    with contextlib.suppress(SystemExit):
        code.interact(
            banner=f"Python {sys.version.split()[0]}: {module}, {found.__name__} and state (a copy: {about})",
            local=names,
            exitmsg="",
        )
    return 0


def _state(found: type[Worker[Any]] | Any, place: ShellState) -> Any:
    """The state in the bot's own types; plain data for a bot that is a function, which names its types when it runs."""
    if place.journal and isinstance(found, type):
        return replica_of(WorkerBot(found), Path(place.journal)).state
    return msgspec.json.decode(Path(place.plain).read_bytes()) if place.plain else None


def _run(command: str, names: dict[str, Any]) -> int:
    try:
        exec(compile(command, "<neverblink shell>", "exec"), names)
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        return complain(str(ending.code))
    except BaseException as problem:
        traceback.print_exception(problem)
        return 1
    return 0


def _complete(names: dict[str, Any]) -> None:
    """Complete names with the tab key, where Python has readline."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        return
    readline.set_completer(rlcompleter.Completer({**vars(builtins), **names}).complete)
    readline.parse_and_bind("tab: complete")
