"""What all commands share: `--json`, `--home`, `--project`, and how they answer.

A command is a function that takes a `CommandContext` (the project, its home, the screen) and its own options, and
returns a `Done`. Text for people goes to `context.screen`; the JSON object and the exit code come from the returned
`Done`. A command that fails raises a `NeverblinkError`.

A `remote_command` only sends requests to the supervisor, so it also works from another machine, with `--server` and
`--key`. A `local_command` uses files of this machine and refuses these options.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, cast

import click
import msgspec
from click.core import ParameterSource

from ..system.text import clean, is_encodable
from ..terminal.screen import Screen
from .context import CommandContext
from .exit_codes import BadInput, Exit
from .results import ExitWith, say_json

__all__ = ["SHARED", "Done", "Subgroup", "local_command", "remote_command"]

SHARED = {"--json": False, "--home": True, "--project": True, "--server": True, "--key": True}
"""The options allowed before the command's name, and whether each takes a value."""

P = ParamSpec("P")


class Done(msgspec.Struct, frozen=True):
    """A command's result: the object for `--json` (None when it wrote its own) and the exit code."""

    result: dict[str, Any] | None = None
    exit: Exit = Exit.DONE


class Subgroup(click.Group):
    """A command with subcommands. By itself it shows its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


class _Command(click.Command):
    """A command whose own options may be given only once: click would silently use the last of two values.

    The shared options may be given again, as after an alias.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(list(args))
            once = [param for param in given if _is_given_once(param)]
            twice = next((param for param in once if once.count(param) > 1), None)
            if twice is not None:
                raise click.UsageError(f"{twice.opts[-1]} is given twice: give it once", ctx)
        return super().parse_args(ctx, args)


def _is_given_once(param: click.Parameter) -> bool:
    return (
        isinstance(param, click.Option)
        and SHARED.keys().isdisjoint(param.opts)
        and not (param.is_flag or param.multiple)
    )


_NEEDS_NO_BOT = frozenset(
    {"adopt", "completion", "demo", "env", "init", "run", "schema", "systemd", "test", "up", "watch"}
)
"""The local commands that need no running bot: they ignore NEVERBLINK_SERVER in the environment."""

_FREE_TEXT = frozenset(("why",))
"""Options with free text for people. Other text that is not UTF-8 is refused: cleaning it would change its meaning."""


def _refuse_unencodable(value: object) -> None:
    """Raise `BadInput` when an argument is not UTF-8."""
    for part in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
        if isinstance(part, str | Path) and not is_encodable(str(part)):
            raise BadInput(f'"{clean(str(part))}" is not UTF-8: write it in UTF-8, or rename the file')


def _cwd() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise BadInput("the working directory was removed: change to another one") from None


def local_command(act: Callable[Concatenate[CommandContext, P], Done]) -> click.Command:
    """The click command for `act`, which uses this machine's files. Named after it; its docstring is the help."""
    return _command(act, remote=False)


def remote_command(act: Callable[Concatenate[CommandContext, P], Done]) -> click.Command:
    """The click command for `act`, which only sends requests to the supervisor; also takes `--server` and `--key`."""
    return _command(act, remote=True)


def _command(act: Callable[Concatenate[CommandContext, P], Done], *, remote: bool) -> click.Command:
    @functools.wraps(act)
    def run(*args: P.args, **options: P.kwargs) -> None:
        for name, value in options.items():
            if name in _FREE_TEXT and isinstance(value, str):
                options[name] = clean(value)
            else:
                _refuse_unencodable(value)
        as_json, home, project = (options.pop(name) for name in ("as_json", "home", "project"))
        server, key = options.pop("server"), options.pop("key")
        if not remote:
            _refuse_server(server)
            server = key = None
        assert isinstance(as_json, bool)
        context = CommandContext(
            as_json=as_json,
            home_option=home if isinstance(home, Path) else None,
            project_option=project if isinstance(project, Path) else None,
            environment=dict(os.environ),
            server=server if isinstance(server, str) else "",
            key=key if isinstance(key, Path) else None,
            cwd=_cwd(),
            screen=Screen(sys.stderr if as_json else sys.stdout),
        )
        done = act(context, *args, **options)
        if as_json and done.result is not None:
            say_json(done.result)
        raise ExitWith(done.exit)

    shared = (
        click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object on stdout."),
        click.option(
            "--home", type=click.Path(path_type=Path), help="The home directory (also NEVERBLINK_HOME)."
        ),
        click.option(
            "--project",
            type=click.Path(path_type=Path),
            help="The project directory; by default the nearest one, upwards from here.",
        ),
        click.option(
            "--server",
            metavar="TCP",
            envvar="NEVERBLINK_SERVER",
            hidden=not remote,
            help="Ask a supervisor on another machine, at tcp://HOST:PORT.",
        ),
        click.option(
            "--key",
            type=click.Path(path_type=Path),
            envvar="NEVERBLINK_KEY",
            hidden=not remote,
            help="The key file for --server (see `keys`).",
        ),
    )
    command: Any = run
    for option in reversed(shared):
        command = option(command)
    return click.command(name=act.__name__.rstrip("_"), cls=_Command)(command)


def _refuse_server(server: object) -> None:
    """Raise `BadInput` when a local command was given --server, --key or NEVERBLINK_SERVER."""
    context = click.get_current_context()
    command = context.command_path.partition(" ")[2]
    given = [
        option
        for option in ("server", "key")
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE
    ]
    if given:
        option = f"--{given[0]}"
    elif server and command not in _NEEDS_NO_BOT:
        option = "NEVERBLINK_SERVER"
    else:
        return
    raise BadInput(f"`{command}` works only on the bot's machine; run it there, without {option}")
