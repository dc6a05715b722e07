"""up: start the bot and look after it, in the foreground."""

from __future__ import annotations

import asyncio
import sys

import click

from ..bot import StartFailed
from ..daemon import run
from ..home import Home
from .exits import Exit
from .here import Here
from .verb import Done, verb

__all__ = ["up"]


@verb
@click.option(
    "--fresh", is_flag=True, help="Begin with an empty state; what an earlier run left is set aside."
)
def up(here: Here, fresh: bool) -> Done:
    """Start the bot and its supervisor, in the foreground, and say what happens.

    Ctrl-C stops the bot at its next boundary, as `down` does; a second one ends it where it stands. What the bot
    itself prints is in `neverblink logs -f`.
    """
    config = here.config
    home = Home.open(here.home.path)
    try:
        code = asyncio.run(
            run(
                config,
                home,
                fresh=fresh,
                environment=here.environment,
                screen=sys.stderr if here.as_json else sys.stdout,
            )
        )
    except StartFailed as failed:
        if failed.log:
            failed.message += f" (its log: {failed.log})"
        raise
    return Done({"bot": config.name, "home": str(home.path), "well": code == 0}, Exit(code))
