"""What every verb has in common: `--json`, `--home`, `--project`, `--server` with its `--key`, and one way to answer.

A verb is a function that takes a `CommandContext` (where it was called: the project, its home, the screen) and its own
options, and returns a `Done`. What people read goes through `here.screen`; the JSON object and the exit code are made
from what it returns. What keeps it from its work is a `NeverblinkError`.
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
from .errors import BadInput
from .exit_codes import Exit
from .results import ExitWith, say_json

__all__ = ["SHARED", "Done", "Subgroup", "verb"]

SHARED = {"--json": False, "--home": True, "--project": True, "--server": True, "--key": True}
"""What every verb takes, and whether a value comes with it."""

P = ParamSpec("P")


class Done(msgspec.Struct, frozen=True):
    """What a verb came to: the object for `--json` (None: it wrote its own) and the exit code."""

    result: dict[str, Any] | None = None
    exit: Exit = Exit.DONE


class Subgroup(click.Group):
    """A verb that has verbs of its own. By itself it shows its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


class _Verb(click.Command):
    """A verb whose own options are given once: of two values click would take the last in silence.

    What all verbs share may be given again, as after an alias.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(list(args))
            once = [one for one in given if _is_given_once(one)]
            twice = next((one for one in once if once.count(one) > 1), None)
            if twice is not None:
                raise click.UsageError(f"{twice.opts[-1]} is given twice: say it once", ctx)
        return super().parse_args(ctx, args)


def _is_given_once(one: click.Parameter) -> bool:
    return (
        isinstance(one, click.Option)
        and SHARED.keys().isdisjoint(one.opts)
        and not (one.is_flag or one.multiple)
    )


_HERE_ONLY = frozenset({"completion", "demo", "init", "schema", "systemd", "up"})
"""The verbs that neither ask a supervisor nor read a home."""

_FREE_TEXT = frozenset(("why",))
"""What is only read by people. Anything else that is not UTF-8 is refused, because another text means another thing."""


def _refuse_unsayable(value: object) -> None:
    """Raise `BadInput` for an argument, or one of several, that is not UTF-8."""
    for part in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
        if isinstance(part, str | Path) and not is_encodable(str(part)):
            raise BadInput(f'"{clean(str(part))}" is not UTF-8: write it in UTF-8, or rename what it names')


def _cwd() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise BadInput("the working directory was removed: go to one that is there") from None


def verb(act: Callable[Concatenate[CommandContext, P], Done]) -> click.Command:
    """The click command for `act`, named after it; its docstring is the help. Innermost options come first."""

    @functools.wraps(act)
    def run(*args: P.args, **options: P.kwargs) -> None:
        for name, value in options.items():
            if name in _FREE_TEXT and isinstance(value, str):
                options[name] = clean(value)
            else:
                _refuse_unsayable(value)
        as_json, home, project = (options.pop(name) for name in ("as_json", "home", "project"))
        server, key = options.pop("server"), options.pop("key")
        source = click.get_current_context().get_parameter_source("server")
        if server and act.__name__ in _HERE_ONLY and source is ParameterSource.COMMANDLINE:
            raise BadInput(f"`{act.__name__}` works on this machine only: run it without --server")
        assert isinstance(as_json, bool)
        here = CommandContext(
            as_json=as_json,
            home_option=home if isinstance(home, Path) else None,
            project_option=project if isinstance(project, Path) else None,
            environment=dict(os.environ),
            server=server if isinstance(server, str) else "",
            key=key if isinstance(key, Path) else None,
            cwd=_cwd(),
            screen=Screen(sys.stderr if as_json else sys.stdout),
        )
        done = act(here, *args, **options)
        if as_json and done.result is not None:
            say_json(done.result)
        raise ExitWith(done.exit)

    shared = (
        click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object on stdout."),
        click.option(
            "--home", type=click.Path(path_type=Path), help="The home directory (also NEVERBLINK_HOME)."
        ),
        click.option(
            "--project", type=click.Path(path_type=Path), help="The project directory, else found from here."
        ),
        click.option(
            "--server",
            metavar="TCP",
            envvar="NEVERBLINK_SERVER",
            help="Ask a supervisor elsewhere, at tcp://HOST:PORT.",
        ),
        click.option(
            "--key",
            type=click.Path(path_type=Path),
            envvar="NEVERBLINK_KEY",
            help="The key file to do so with (see `keys`).",
        ),
    )
    command: Any = run
    for option in reversed(shared):
        command = option(command)
    return click.command(name=act.__name__.rstrip("_"), cls=_Verb)(command)
