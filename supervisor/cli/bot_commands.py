"""halt, settings, commands: operations on the running bot."""

from __future__ import annotations

import json
from typing import Any, cast

import click
import msgspec

from ...protocol.commands import Commands, Halt, Settings, Status
from ...protocol.link import Offered
from ..api.client import convert
from ..system.format import count
from ..terminal.screen import Screen, columns
from .command import Done, remote_command
from .command_values import kind
from .context import CommandContext
from .exit_codes import BadInput
from .operations import arguments, seconds

__all__ = ["commands", "confirm_bot", "halt", "settings"]

_within = click.option(
    "--within", default="60s", show_default=True, help="How long to wait for the bot's answer."
)


@remote_command
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
@click.option("--yes", is_flag=True, help="Do not ask for the bot's name.")
@_within
def halt(context: CommandContext, why: str, yes: bool, within: str) -> Done:
    """Pause the bot and close its positions: runs its on_halt, in a turn of its own.

    The bot ticks on, paused, until `resume`. You are asked to type its name.
    """
    with context.client() as client:
        name = str(client.ask(Status())["bot"])
        if not yes:
            confirm_bot(context, name, f"This pauses {name} and closes its positions")
        result: dict[str, Any] = client.ask(Halt(confirm=name, why=why), within=seconds(within))
    screen = context.screen
    if result["halted"]:
        screen.line(f"{screen.warn('halted')}  {name} is paused, and its on_halt has run")
        if result["value"] is not None:
            screen.line(_shown(result["value"]))
    else:
        screen.line(
            f"{screen.warn('paused')}  {screen.bad('no positions were closed')}: this bot has no on_halt"
        )
    return Done(result)


@remote_command
@click.argument("pairs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--reset", multiple=True, metavar="NAME", help="Reset to the default in the bot's code.")
@click.option("--set", "set_json", default="", metavar="JSON", help="New values as one JSON object.")
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
@_within
def settings(
    context: CommandContext,
    pairs: tuple[str, ...],
    reset: tuple[str, ...],
    set_json: str,
    why: str,
    within: str,
) -> Done:
    """Show the bot's settings, or change them between two of its turns: neverblink settings max_position=3

    All that is named is validated against the bot's own type before the bot sees any of it. A VALUE is taken as the
    setting wants it: as JSON (3, true, [1,2]) or, where that does not fit, as text.
    """
    with context.client() as client:
        schema = client.ask(Settings()).get("schema") if pairs else None
        wanted = Settings(set=arguments(pairs, set_json, schema, "--set"), reset=reset, why=why)
        result: dict[str, Any] = client.ask(wanted, within=seconds(within))
    screen = context.screen
    if wanted.set or wanted.reset:
        for name, change in cast("dict[str, dict[str, Any]]", result["changes"]).items():
            screen.line(f"{screen.good(name)}  {json.dumps(change['old'])} -> {json.dumps(change['new'])}")
        return Done(result)
    for line in _list(screen, result) if result["values"] else ["this bot has no settings"]:
        screen.line(line)
    return Done(result)


@remote_command
def commands(context: CommandContext) -> Done:
    """List the commands that the bot declares, with their parameters, for `neverblink send`."""
    with context.client() as client:
        result: dict[str, Any] = client.ask(Commands())
    declared = convert(result["commands"], tuple[Offered, ...])
    rows = [(command.name, " ".join(_parameters(command.args)), command.help) for command in declared]
    for line in columns(rows):
        context.screen.line(line.rstrip())
    if result["listens"]:
        context.screen.line("other commands go to its on_command")
    elif not declared:
        context.screen.line("this bot takes no commands")
    return Done(result)


def confirm_bot(context: CommandContext, name: str, what: str) -> None:
    """Have the user type the bot's name; raise `BadInput` when that is not what they typed. `what` happens then."""
    if context.as_json:
        raise BadInput("--json cannot ask for confirmation: add --yes")
    try:
        typed = click.prompt(
            f"{what}. Type its name to continue",
            default="",
            show_default=False,
            err=True,
        )
    except click.Abort:
        raise BadInput("not confirmed, so nothing was done: type the bot's name, or add --yes") from None
    if typed != name:
        raise BadInput(f"{json.dumps(typed)} is not the bot's name, so nothing was done: its name is {name}")


def _list(screen: Screen, result: dict[str, Any]) -> list[str]:
    schema = cast("dict[str, Any]", result["schema"] or {})
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties", {}))
    chosen = cast("list[str]", result["chosen"])
    rows: list[tuple[str, str, str, str]] = []
    for name, value in cast("dict[str, Any]", result["values"]).items():
        about = properties.get(name, {})
        default = json.dumps(about.get("default"))
        source = screen.warn(f"set, else {default}") if name in chosen else ""
        rows.append((name, json.dumps(value), source, kind(about, schema)))
    return [*columns(rows), screen.faint(f"{count(len(chosen), 'setting')} set by an operator")]


def _parameters(schema: dict[str, Any]) -> list[str]:
    """The parameters of a command: `market=text`, optional ones in brackets."""
    required = cast("list[str]", schema.get("required", []))
    parts: list[str] = []
    for name, about in cast("dict[str, dict[str, Any]]", schema.get("properties", {})).items():
        part = f"{name}={kind(about, schema)}"
        parts.append(part if name in required else f"[{part}, else {json.dumps(about.get('default'))}]")
    return parts


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()
