"""How a run of the command line ends: the message for the user and the exit code.

A `NeverblinkError` is one line on stderr; a bug is one line too, with the file that has the details. With `--json` it
is also one object on stdout, so that programs need not parse text.
"""

from __future__ import annotations

import difflib
import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ...protocol.errors import NeverblinkError
from ..system.permissions import no_access
from ..system.streams import why_lost
from ..system.text import clean, cleaned, visible, visible_in_json
from ..terminal.screen import put
from .exit_codes import Exit, exit_of_error

__all__ = ["ExitWith", "end", "say_json", "wants_json"]


class ExitWith(Exception):
    """End the run with this code; the command has shown its result."""

    def __init__(self, exit: Exit) -> None:
        super().__init__(exit)
        self.exit = exit


def end(ending: BaseException, *, as_json: bool) -> Exit:
    """Report how the run ended; return the exit code."""
    match ending:
        case ExitWith():
            return ending.exit
        case SystemExit():
            return Exit.DONE if ending.code in (None, 0) else Exit.BROKEN
        case click.exceptions.Exit():
            return Exit.DONE if ending.exit_code == 0 else Exit.BAD_INPUT
        case KeyboardInterrupt() | click.Abort():
            return _tell(Exit.INTERRUPTED, "interrupted", {}, as_json)
        case click.ClickException():
            return _tell(Exit.BAD_INPUT, _usage(ending), {}, as_json)
        case NeverblinkError():
            code = exit_of_error(ending)
            if _debug():
                traceback.print_exception(ending)
            return _tell(code, ending.message, _facts(ending), as_json)
        case OSError(filename=str(name)) if ending.errno in _ORDINARY:
            if _debug():
                traceback.print_exception(ending)
            path = Path(name)
            why = (ending.errno in _CLOSED and no_access(path)) or ending.strerror
            code = Exit.BAD_INPUT if ending.errno in _CLOSED else Exit.BROKEN
            return _tell(code, f"{path}: {why}", {"path": name}, as_json)
        case _:
            if _debug():
                traceback.print_exception(ending)
            what = (
                f"{type(ending).__name__}: {_one_line(str(ending))}" if str(ending) else type(ending).__name__
            )
            return _tell(Exit.BROKEN, f"unexpected {what} (details: {_keep(ending)})", {}, as_json)


_CLOSED = (errno.EACCES, errno.EPERM)
_ORDINARY = (*_CLOSED, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors that any file access can have, and that are not bugs of neverblink."""


def wants_json(args: Sequence[str]) -> bool:
    """Whether `--json` is among the arguments, also when they cannot be parsed."""
    return "--json" in (args[: args.index("--")] if "--" in args else args)


def exit_of_lost_output(exit: Exit, *, only_answers: bool) -> Exit:
    """Report when standard output could not be written; return the resulting exit code.

    A reader that stops early (`| head`) is not a failure. The effects of a command remain, so only a command that
    `only_answers` fails.
    """
    problem = why_lost(sys.stdout)
    if problem is None or isinstance(problem, BrokenPipeError):
        return exit
    put(sys.stderr, f"neverblink: the output could not be written: {problem.strerror}\n")
    return Exit.BROKEN if only_answers and exit is Exit.DONE else exit


def say_json(value: Any) -> bool:
    """Print one line of JSON; return whether it was written."""
    try:
        document = msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        document = msgspec.json.encode(cleaned(value), enc_hook=str)
    return put(sys.stdout, visible_in_json(document.decode()) + "\n")


def _tell(code: Exit, message: str, facts: dict[str, Any], as_json: bool) -> Exit:
    line = clean(_one_line(message))
    put(sys.stderr, f"neverblink: {visible(line)}\n")
    if as_json:
        say_json({"error": {"exit": int(code), "kind": code.name.lower(), "message": line, "facts": facts}})
    return code


def _usage(error: click.ClickException) -> str:
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        message = _no_option(error)
    if isinstance(error, click.BadParameter) and error.param is not None:
        message = f"{message.rstrip('.')}{_meant(error.message, error.param)}"
    if isinstance(error, click.UsageError) and error.ctx is not None and error.ctx.info_name:
        path = error.ctx.command_path
        return f"{message.rstrip('.')} (see {path} --help)" if "--help" not in message else message
    return message


def _no_option(error: click.NoSuchOption) -> str:
    """The error for an unknown option, with the one that was probably meant."""
    known = (
        [name for param in error.ctx.command.params for name in param.opts] if error.ctx is not None else []
    )
    near = _OPTIONS_ELSEWHERE.get(error.option_name, error.option_name)
    close = [near] if near in known else difflib.get_close_matches(near, known, 1, _CLOSE)
    return f"there is no option {error.option_name}" + (f": did you mean {close[0]}?" if close else "")


def _meant(message: str, param: click.Parameter) -> str:
    """A hint for an invalid choice."""
    if not isinstance(param.type, click.Choice):
        return ""
    known = [str(choice) for choice in param.type.choices]
    given = message[1:].partition("'")[0].lower()
    near = _ELSEWHERE.get(given, given)
    close = [near] if near in known else difflib.get_close_matches(near, known, 1, _CLOSE)
    return f": did you mean {close[0]}?" if close else ""


_CLOSE = 0.7
"""The least similarity of a suggestion, of 1: `bsh` and `bash` have it, `ksh` and `zsh` do not."""

_OPTIONS_ELSEWHERE: dict[str, str] = dict.fromkeys(
    ("--reason", "--message", "--msg", "--comment", "--because"), "--why"
)
"""The names of these options in other programs."""

_ELSEWHERE = {"warn": "warning", "err": "error", "critical": "error", "fatal": "error", "trace": "debug"}
"""Other names of log levels."""


def _facts(error: NeverblinkError) -> dict[str, Any]:
    """The error's attributes besides its message, as JSON types."""
    facts = {
        name: value for name, value in vars(error).items() if name != "message" and not name.startswith("_")
    }
    return msgspec.to_builtins(facts, enc_hook=str, str_keys=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _debug() -> bool:
    return os.environ.get("NEVERBLINK_DEBUG", "") not in ("", "0")


def _keep(ending: BaseException) -> str:
    """Write the traceback to a private file, since it may contain a bot's data; return the path."""
    name = time.strftime("neverblink-%Y%m%d-%H%M%S-", time.gmtime())
    try:
        handle, path = tempfile.mkstemp(".log", name)
        with os.fdopen(handle, "w") as file:
            traceback.print_exception(ending, file=file)
            file.write(f"\narguments: {sys.argv[1:]}\n")
    except OSError:
        return "not kept; NEVERBLINK_DEBUG=1 shows them"
    return str(Path(path))
