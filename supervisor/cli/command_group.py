"""The click group: finds each command in its file when it is used, and ends every run in one place.

A command's file is imported only when the command is used: `neverblink status` in a prompt or a watch loop must not
wait for the imports of the demo. Only `results` decides how click errors, our errors and bugs are shown.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from .command import SHARED
from .exit_codes import Exit
from .results import end, exit_of_lost_output, wants_json

__all__ = ["COMMANDS", "neverblink"]

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Develop": {
        "init": ("init", "Write a bot that runs, as a starting point."),
        "adopt": ("adopt", "Show the change that puts an ordinary script on neverblink."),
        "run": ("run", "Run the bot alone in this terminal, not live."),
        "test": ("run", "Run the project's tests in the bot's environment."),
        "shell": ("run", "Open a Python prompt with the bot and its state."),
        "watch": ("watch", "Deploy to a development bot whenever a file is saved."),
        "env": ("env", "Show what the bot's code runs with, and the path for an editor."),
        "demo": ("..demo.command", "Watch a live bot through seven difficult deployments."),
    },
    "Run": {
        "up": ("up", "Start the bot and its supervisor, in the foreground."),
        "down": ("operations", "Stop the bot at its next boundary, then the supervisor."),
        "systemd": ("systemd", "Print the systemd unit that runs the supervisor."),
    },
    "Deploy": {
        "check": ("check", "Check that the bot can run and be deployed."),
        "deploy": ("deploy", "Hand the bot over to new code between two ticks."),
        "diff": ("diff", "List the commits that a deployment would bring."),
        "abort": ("deploy", "Cancel the current deployment; the bot goes on."),
        "rollback": ("deploy", "Hand the bot back to the previous release."),
        "restart": (
            "deploy",
            "Move the bot to a new process on the same release.",
        ),
        "releases": ("releases", "List the releases that are kept, newest first."),
        "lock": ("operations", "Refuse deployments until `unlock`."),
        "unlock": ("operations", "Allow deployments again."),
        "hook": ("hook", "Deploy on `git push live main`."),
    },
    "Observe": {
        "status": ("status", "Show what runs and how the last deployment ended."),
        "top": ("top", "Watch the ticks and deployments as they happen."),
        "logs": ("logs", "Show the workers' output, each line with its release."),
        "history": ("history", "List the deployments so far, or show one in full."),
        "audit": ("audit", "Prove from the journal that no tick was missed or run twice."),
        "journal": ("journal", "Show, verify or export the bot's journal."),
        "state": ("state", "Show the bot's state, compare points of it, restore one."),
    },
    "Operate": {
        "pause": ("operations", "Stop the bot from entering new positions."),
        "resume": ("operations", "Let the bot enter new positions again."),
        "halt": ("bot_commands", "Pause the bot and close its positions."),
        "settings": ("bot_commands", "Show the bot's settings, or change them while it runs."),
        "commands": ("bot_commands", "List the commands that the bot declares."),
        "send": ("operations", "Run one of the bot's commands and show its answer."),
        "acknowledge": ("operations", "Acknowledge an outage, so that `status` no longer reports it."),
        "feed": ("feed", "Show the bot's feeds, or restart one on the release that leads."),
        "rebase-clock": ("operations", "Accept the wall clock as it is now, and tick by it."),
    },
    "Administer": {
        "backup": ("backup", "Copy the home, also while the bot runs."),
        "keys": ("keys", "Manage the keys of clients that connect over TCP."),
        "token": ("token", "Manage the tokens for the web page and HTTP."),
        "notify": ("notify", "Show who is notified, or send a test message."),
        "schema": ("schema", "Print the JSON Schema of status.json or control.json."),
        "completion": ("completion", "Print the completion script for a shell."),
    },
}
"""The commands by group, as `neverblink --help` shows them: each with its file and its line of help."""

COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}


ANSWERS = frozenset({
    "adopt", "audit", "check", "commands", "completion", "diff", "env", "history", "journal", "keys", "logs",
    "releases", "schema", "state", "status", "systemd", "token",
})  # fmt: skip
"""The commands whose result is their output: they fail when that cannot be written."""


class CommandGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = COMMANDS[cmd_name][0]
        path = module if module.startswith(".") else f".{module}"
        found = getattr(importlib.import_module(path, __package__), cmd_name.replace("-", "_"))
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # click's own hint looks at the commands it has loaded; ours are not loaded yet.
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(unknown_command(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), line) for name, (_, line) in commands.items()])

    def _reordered(self, args: list[str]) -> list[str]:
        """The same arguments, with the shared options moved behind the command's name."""
        early, rest = _early(args)
        if rest[:1] == ["help"]:
            # As in other command-line programs: `neverblink help status`.
            return [*rest[1:], "--help"]
        if not early:
            return args
        if not rest:
            raise click.UsageError(f"{early[0]} needs a command, as in `neverblink status {' '.join(early)}`")
        if rest[0].startswith("-"):
            # Options of neverblink itself, such as --help, ignore them.
            return rest
        many = isinstance(self.get_command(click.Context(self), rest[0]), click.Group)
        if many and len(rest) == 1:
            return rest
        names = 2 if many else 1
        return [*rest[:names], *early, *rest[names:]]

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run and exit; every way out of the program goes through here."""
        given = list(sys.argv[1:] if args is None else args)
        options["standalone_mode"] = False
        try:
            code: int | None = super().main(self._reordered(given), *more, **options)
        except BaseException as ending:
            code = end(ending, as_json=wants_json(given))
        exit = Exit(code or Exit.DONE)
        sys.exit(int(exit_of_lost_output(exit, only_answers=command_of(given) in ANSWERS)))


@click.group(
    cls=CommandGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command takes --json, --home and --project, before its name or after it. Commands that need only "
    "the supervisor also take --server and --key. More: docs/quickref.md",
)
@click.version_option(package_name="neverblink", message="neverblink %(version)s")
@click.pass_context
def neverblink(context: click.Context) -> None:
    """Swap the code of a live bot between two of its ticks."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def unknown_command(name: str) -> str:
    """The error for an unknown command, with the one that was probably meant."""
    from difflib import get_close_matches

    close = _ELSEWHERE.get(name) or next(iter(get_close_matches(name, COMMANDS, 1)), "")
    return f"there is no command {name!r}" + (f": did you mean `neverblink {close}`?" if close else "")


def command_of(args: list[str]) -> str:
    """The command's name among the arguments, "" when there is none."""
    return next(iter(_early(args)[1]), "")


def _early(args: list[str]) -> tuple[list[str], list[str]]:
    """The shared options before the command's name, and the rest."""
    at = 0
    while at < len(args):
        option, equals, _ = args[at].partition("=")
        if option not in SHARED:
            break
        at += 2 if SHARED[option] and not equals else 1
    return args[:at], args[at:]


_ELSEWHERE = {
    "start": "up",
    "stop": "down",
    "reload": "deploy",
    "update": "deploy",
}
"""The names of these commands in other supervisors."""
