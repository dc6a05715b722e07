"""How a run of the command line ends: what the user is told and which code the shell gets.

An error of ours is one line on stderr, whatever raised it; a bug is one line too, and names the file with the details.
With `--json` the same is also one object on stdout, so that a program never has to read prose.
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
    """The verb has said all it has to say; end with this code."""

    def __init__(self, exit: Exit) -> None:
        super().__init__(exit)
        self.exit = exit


def end(ending: BaseException, *, as_json: bool) -> Exit:
    """Say what is to be said about how the run ended; return the exit code."""
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
"""What can happen to any file, and is not a fault of neverblink."""


def wants_json(args: Sequence[str]) -> bool:
    """Whether `--json` is among the arguments; needed also when they can't be parsed."""
    return "--json" in (args[: args.index("--")] if "--" in args else args)


def exit_of_lost_output(exit: Exit, *, only_answers: bool) -> Exit:
    """Say so when standard output could not be written; return the exit code that the run then has.

    A reader that has left (`| head`) wanted no more, and is not a failure. What a verb did stays done, so only one that
    `only_answers` fails.
    """
    problem = why_lost(sys.stdout)
    if problem is None or isinstance(problem, BrokenPipeError):
        return exit
    put(sys.stderr, f"neverblink: the output could not be written: {problem.strerror}\n")
    return Exit.BROKEN if only_answers and exit is Exit.DONE else exit


def say_json(value: Any) -> bool:
    """Print one line of JSON; return whether anybody still reads."""
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
    told = error.format_message()
    if isinstance(error, click.NoSuchOption):
        told = _no_option(error)
    if isinstance(error, click.BadParameter) and error.param is not None:
        told = f"{told.rstrip('.')}{_meant(error.message, error.param)}"
    if isinstance(error, click.UsageError) and error.ctx is not None and error.ctx.info_name:
        path = error.ctx.command_path
        return f"{told.rstrip('.')} (see {path} --help)" if "--help" not in told else told
    return told


def _no_option(error: click.NoSuchOption) -> str:
    """One line on an option that there is not, with the one that was probably meant."""
    known = (
        [name for param in error.ctx.command.params for name in param.opts] if error.ctx is not None else []
    )
    near = _OPTIONS_ELSEWHERE.get(error.option_name, error.option_name)
    close = [near] if near in known else difflib.get_close_matches(near, known, 1, _CLOSE)
    return f"there is no option {error.option_name}" + (f": did you mean {close[0]}?" if close else "")


def _meant(message: str, param: click.Parameter) -> str:
    """A hint for a word that is none of those which are expected."""
    if not isinstance(param.type, click.Choice):
        return ""
    known = [str(one) for one in param.type.choices]
    said = message[1:].partition("'")[0].lower()
    near = _ELSEWHERE.get(said, said)
    close = [near] if near in known else difflib.get_close_matches(near, known, 1, _CLOSE)
    return f": did you mean {close[0]}?" if close else ""


_CLOSE = 0.7
"""How much alike a word and the one that was meant have to be, of 1: `bsh` and `bash` are, `ksh` and `zsh` are not."""

_OPTIONS_ELSEWHERE: dict[str, str] = dict.fromkeys(
    ("--reason", "--message", "--msg", "--comment", "--because"), "--why"
)
"""What others call the options."""

_ELSEWHERE = {"warn": "warning", "err": "error", "critical": "error", "fatal": "error", "trace": "debug"}
"""What others call the levels of a log."""


def _facts(error: NeverblinkError) -> dict[str, Any]:
    """What the error carries besides its message, as far as JSON can say it."""
    facts = {
        name: value for name, value in vars(error).items() if name != "message" and not name.startswith("_")
    }
    return msgspec.to_builtins(facts, enc_hook=str, str_keys=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _debug() -> bool:
    return os.environ.get("NEVERBLINK_DEBUG", "") not in ("", "0")


def _keep(ending: BaseException) -> str:
    """Write the traceback where it can be found; return the path. In a private file: it may quote a bot's data."""
    name = time.strftime("neverblink-%Y%m%d-%H%M%S-", time.gmtime())
    try:
        handle, path = tempfile.mkstemp(".log", name)
        with os.fdopen(handle, "w") as file:
            traceback.print_exception(ending, file=file)
            file.write(f"\narguments: {sys.argv[1:]}\n")
    except OSError:
        return "not kept; NEVERBLINK_DEBUG=1 shows them"
    return str(Path(path))
