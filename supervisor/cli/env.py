"""env: what the bot's code runs with, and where an editor finds it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.wire import UNDECODABLE
from ..terminal.screen import put
from ..workers.env_file import read_env_file
from .command import Done, local_command
from .context import CommandContext
from .project_environment import ProjectEnvironment, ready_environment

__all__ = ["env"]

_WITHIN_S = 30.0
_ASK = """
import importlib.metadata, json, platform, sys
found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
try:
    import neverblink.worker
    where = neverblink.worker.__file__
except ImportError:
    where = None
print(json.dumps({"version": platform.python_version(), "prefix": sys.prefix, "path": [p for p in sys.path if p],
    "libraries": dict(sorted(found.items(), key=lambda item: item[0].lower())), "neverblink": where}))
"""


class InterpreterQueryFailed(NeverblinkError):
    """The bot's interpreter does not answer."""


@local_command
@click.option("--path", "only_path", is_flag=True, help="Print only the interpreter's path, for an editor.")
@click.option("--no-tests", is_flag=True, help="Without the development dependencies that tests have.")
def env(context: CommandContext, only_path: bool, no_tests: bool) -> Done:
    """Show what the bot's code runs with: Python, libraries, directories, and the names of its variables.

    Builds the environment first if it is missing. Set your editor's Python interpreter to the path that `--path`
    prints: then it finds `neverblink` and the bot's libraries. The path stays the same when the requirements change.

    Values of variables are never shown.
    """
    ready = ready_environment(context, tools=not no_tests)
    path = ready.stable_interpreter()
    if only_path:
        if not context.as_json:
            put(sys.stdout, f"{path}\n")
        return Done({"editor": path})
    found = _ask(ready)
    result = _described(context, ready, path, found)
    if not context.as_json:
        _show(context, result)
    return Done(result)


def _ask(ready: ProjectEnvironment) -> dict[str, Any]:
    """What the interpreter says of itself. Raises `InterpreterQueryFailed`."""
    python = ready.interpreter()
    try:
        done = subprocess.run(
            [python, "-c", _ASK],
            cwd=ready.config.directory,
            env=ready.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_WITHIN_S,
            check=False,
        )
        return msgspec.json.decode(done.stdout, type=dict[str, Any])
    except (OSError, subprocess.TimeoutExpired, *UNDECODABLE) as problem:
        raise InterpreterQueryFailed(f"{python} does not say what it has: {problem}") from None


def _described(
    context: CommandContext, ready: ProjectEnvironment, editor: str, found: dict[str, Any]
) -> dict[str, Any]:
    config = ready.config
    keys: list[str] = []
    problem = ""
    if config.env_file is not None:
        try:
            keys = sorted(read_env_file(config.env_file))
        except NeverblinkError as unreadable:
            problem = unreadable.message
    return {
        "bot": config.name,
        "project": str(config.directory),
        "home": str(ready.home.path),
        "data": str(ready.data),
        "python": {"path": ready.interpreter(), "version": found["version"], "prefix": found["prefix"]},
        "environment": str(ready.place) if ready.place is not None else None,
        "editor": editor,
        "neverblink": found["neverblink"],
        "libraries": found["libraries"],
        "path": found["path"],
        "env_file": None
        if config.env_file is None
        else {"path": str(config.env_file), "names": keys, "problem": problem},
        "variables": sorted({*context.environment, *keys, "NEVERBLINK_DATA", "PYTHONUNBUFFERED"}),
    }


def _show(context: CommandContext, result: dict[str, Any]) -> None:
    screen = context.screen

    def row(name: str, text: str) -> None:
        screen.line(f"{screen.style(f'{name:<12}', bold=True)} {text}")

    row("python", f"{result['python']['version']}  {result['python']['path']}")
    row("environment", result["environment"] or "none is built: this Python is used as it is")
    row("editor", f"{result['editor']}  (set it as your editor's Python interpreter)")
    row("neverblink", result["neverblink"] or "not installed in this Python")
    row("project", result["project"])
    row("home", result["home"])
    row("data", f"{result['data']}  (NEVERBLINK_DATA)")
    file = result["env_file"]
    if file is None:
        row("env_file", "none: the bot's variables are those of `neverblink up`")
    else:
        row("env_file", f"{file['path']}  {file['problem'] or ', '.join(file['names']) or 'no variables'}")
    row("libraries", ", ".join(f"{name} {version}" for name, version in result["libraries"].items()))
