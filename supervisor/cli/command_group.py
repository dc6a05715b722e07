"""The click group: finds each verb in its file when it is asked for, and ends every run in one place.

A verb's file is imported only when the verb is used, because `neverblink status` in a prompt or a watch loop should
not wait for the imports of the demo. What a click error, an error of ours or a bug looks like to the user is decided
by `ending`, and nowhere else.
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

__all__ = ["VERBS", "neverblink"]

VERBS: dict[str, tuple[str, str]] = {
    "init": ("init", "Write a bot that runs, to begin from."),
    "up": ("up", "Start the bot and its supervisor, in the foreground."),
    "check": ("check", "Find out whether the bot could run and be deployed, before it matters."),
    "deploy": ("deploy", "Hand the bot over to new code between two ticks."),
    "diff": ("diff", "The commits between what runs and what would be deployed."),
    "abort": ("deploy", "Cancel the deployment that runs; the bot goes on."),
    "rollback": ("deploy", "Hand the bot back to the release before, with its state as it is now."),
    "restart": ("deploy", "Run the bot in a new process on the same release, without missing a tick."),
    "status": ("status", "What runs, what comes next, and how the last deployment ended."),
    "top": ("top", "Watch the bot: who leads, what comes next, every tick, a deployment as it happens."),
    "logs": ("logs", "The workers' output, each line marked with its release."),
    "releases": ("releases", "The releases kept, newest first."),
    "history": ("history", "The deployments so far, or the whole story of one."),
    "audit": ("audit", "Prove from the journal that no tick was missed or doubled."),
    "journal": ("journal", "Show, verify or export what the bot's journal holds."),
    "pause": ("operations", "Tell the bot to enter nothing new."),
    "resume": ("operations", "Tell the bot that it may enter again."),
    "rebase-clock": ("operations", "Believe the wall clock at once, and go on ticking by it."),
    "halt": ("bot_commands", "Pause the bot, and have it give up what it holds."),
    "settings": ("bot_commands", "Show the bot's settings, or change them while it runs."),
    "commands": ("bot_commands", "The commands that the bot has declared."),
    "lock": ("operations", "Refuse deployments until `unlock`."),
    "unlock": ("operations", "Allow deployments again."),
    "send": ("operations", "Run one of the bot's commands and show its answer."),
    "acknowledge": ("operations", "Say that you know of an outage: `status` shows it no more."),
    "down": ("operations", "Stop the bot for good at its next boundary, then the supervisor."),
    "schema": ("schema", "Print the JSON Schema of status.json or control.json."),
    "keys": ("keys", "Who may ask over TCP: the server's key, and those of its clients."),
    "token": ("token", "Who may ask over HTTP, and open the web page."),
    "notify": ("notify", "Who is told of what happens; `notify test` finds out whether it arrives."),
    "systemd": ("systemd", "Print the systemd unit that runs the supervisor."),
    "hook": ("hook", "Deploy what is pushed to a git repository: `git push live main`."),
    "demo": ("..demo.command", "A small market, a live bot, and seven deploys that try to hurt it."),
    "completion": ("completion", "Print the completion script for a shell."),
}
"""Each verb: the file it is in, and the line it has in `neverblink --help`, in the order shown there."""


ANSWERS = frozenset({
    "audit", "check", "commands", "completion", "diff", "history", "journal", "keys", "logs", "releases", "schema",
    "status", "systemd", "token",
})  # fmt: skip
"""The verbs whose result is what they print: without it they have failed. What the others did is done."""


class CommandGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = VERBS[cmd_name][0]
        path = module if module.startswith(".") else f".{module}"
        found = getattr(importlib.import_module(path, __package__), cmd_name.replace("-", "_"))
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # click's own hint looks at the commands it has loaded; ours are not loaded yet.
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            ctx.fail(unknown_verb(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])

    def _in_their_place(self, args: list[str]) -> list[str]:
        """The same arguments with what all verbs take behind the verb: who says it first means the same."""
        early, rest = _early(args)
        if rest[:1] == ["help"]:
            # As other commands have it.
            return [*rest[1:], "--help"]
        if not early:
            return args
        if not rest:
            raise click.UsageError(
                f"{early[0]} goes with a verb, as in `neverblink status {' '.join(early)}`"
            )
        if rest[0].startswith("-"):
            # What is asked of neverblink itself has no use for them.
            return rest
        many = isinstance(self.get_command(click.Context(self), rest[0]), click.Group)
        if many and len(rest) == 1:
            return rest
        verb = 2 if many else 1
        return [*rest[:verb], *early, *rest[verb:]]

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run and exit; every way out of the program goes through here."""
        given = list(sys.argv[1:] if args is None else args)
        options["standalone_mode"] = False
        try:
            code: int | None = super().main(self._in_their_place(given), *more, **options)
        except BaseException as ending:
            code = end(ending, as_json=wants_json(given))
        exit = Exit(code or Exit.DONE)
        sys.exit(int(exit_of_lost_output(exit, only_answers=verb_of(given) in ANSWERS)))


@click.group(
    cls=CommandGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every verb takes --json, --home and --project; and --server with --key; before the verb or after it. "
    "More: docs/quickref.md",
)
@click.version_option(package_name="neverblink", message="neverblink %(version)s")
@click.pass_context
def neverblink(context: click.Context) -> None:
    """Swap the code of a live bot between two of its ticks."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def unknown_verb(name: str) -> str:
    """One line on a verb that is none, with the one that was probably meant."""
    from difflib import get_close_matches

    close = _ELSEWHERE.get(name) or next(iter(get_close_matches(name, VERBS, 1)), "")
    return f"there is no verb {name!r}" + (f": did you mean `neverblink {close}`?" if close else "")


def verb_of(args: list[str]) -> str:
    """The verb among the arguments, "" when there is none."""
    return next(iter(_early(args)[1]), "")


def _early(args: list[str]) -> tuple[list[str], list[str]]:
    """The arguments that come before the verb and are of every verb, and the rest."""
    at = 0
    while at < len(args):
        option, equals, _ = args[at].partition("=")
        if option not in SHARED:
            break
        at += 2 if SHARED[option] and not equals else 1
    return args[:at], args[at:]


_ELSEWHERE = {
    "start": "up",
    "run": "up",
    "stop": "down",
    "reload": "deploy",
    "update": "deploy",
}
"""What other supervisors call it."""
