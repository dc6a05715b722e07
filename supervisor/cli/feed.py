"""feed: the bot's feeds, and restarting one on the release that leads."""

from __future__ import annotations

from typing import Any, Literal, cast

import click
import msgspec

from ...protocol import duration
from ...protocol.commands import RestartFeed, Status
from ...protocol.status import BotStatus
from ..api.client import convert
from .command import Done, remote_command
from .context import CommandContext
from .exit_codes import BadInput
from .status import describe_feed

__all__ = ["feed"]

_RESTARTS_WITHIN = 90.0


@remote_command
@click.argument("action", type=click.Choice(["list", "restart"]), default="list")
@click.argument("name", default="")
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
def feed(context: CommandContext, action: Literal["list", "restart"], name: str, why: str) -> Done:
    """Show the bot's feeds, or restart one.

    \b
    feed                    shows each feed: its newest event, its release, and how far the bot is behind
    feed restart NAME       replaces its process by one on the release that leads

    A feed that runs stays on the release that it was started from. A restart imports the new code first: when that
    fails, the old process goes on. Then the old one ends and the new one begins, and the time in between is shown.
    """
    screen = context.screen
    with context.client() as client:
        if action == "list":
            if name:
                raise BadInput(f"to restart a feed: neverblink feed restart {name}")
            status = convert(client.ask(Status()), BotStatus)
            for each in status.feeds:
                screen.line(describe_feed(each, status, screen))
            if not status.feeds:
                screen.line("no feeds: add [feeds.NAME] to the configuration")
            return Done({"feeds": msgspec.to_builtins(status.feeds)})
        if not name:
            raise BadInput("which feed? neverblink feed restart NAME")
        result = cast("dict[str, Any]", client.ask(RestartFeed(feed=name, why=why), within=_RESTARTS_WITHIN))
    lasted = f", blackout {duration.about(result['blackout'])}" if result["blackout"] else ""
    screen.line(
        f"{screen.good('restarted')}  feed {name} runs on release {result['release']}, pid {result['pid']}{lasted}"
    )
    return Done(result)
