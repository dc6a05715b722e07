"""up: start the bot and look after it, in the foreground."""

from __future__ import annotations

import asyncio
import sys

import click

from ...protocol.commands import Down
from ..client import ANSWER_WITHIN
from ..daemon import run
from ..home import Home
from ..starter import StartFailed
from .errors import BadInput
from .exits import Exit
from .here import Here
from .verb import Done, verb

__all__ = ["up"]

_GONE_WITHIN = 15.0
"""Seconds that a supervisor has to end after it has said that it does."""


@verb
@click.option(
    "--fresh", is_flag=True, help="Begin with an empty state; what an earlier run left is set aside."
)
@click.option(
    "--replace",
    is_flag=True,
    help="Take over from the supervisor that runs, which leaves its workers: to upgrade neverblink itself.",
)
@click.option(
    "--rescue",
    is_flag=True,
    help="End a bot whose home was removed under it, and go on from its last tick.",
)
def up(here: Here, fresh: bool, replace: bool, rescue: bool) -> Done:
    """Start the bot and its supervisor, in the foreground, and say what happens.

    A bot that is alive without a supervisor is adopted as it runs.

    Ctrl-C stops the bot at its next boundary, as `down` does; a second one ends it where it stands. What the bot
    itself prints is in `neverblink logs -f`.
    """
    config = here.config
    if fresh and replace:
        raise BadInput("--fresh sets the state aside, --replace goes on with it: say one of them")
    if fresh and rescue:
        raise BadInput("--fresh sets the state aside, --rescue goes on with it: say one of them")
    home = Home.open(here.home.path)
    if replace:
        _send_away(here, home)
    try:
        code = asyncio.run(
            run(
                config,
                home,
                fresh=fresh,
                rescue=rescue,
                environment=here.environment,
                screen=sys.stderr if here.as_json else sys.stdout,
            )
        )
    except StartFailed as failed:
        if failed.log:
            failed.message += f" (its log: {failed.log})"
        raise
    return Done({"bot": config.name, "home": str(home.path), "well": code == 0}, Exit(code))


def _send_away(here: Here, home: Home) -> None:
    """Have the supervisor that owns the home leave, if there is one, and wait until it has.

    All of this program is loaded by now: the workers are without a supervisor for as long as it takes to let go of
    them here and to take them up there.
    """
    if home.owner() is None:
        return
    with here.client() as client:
        client.ask(Down(why="another supervisor takes over", leave_workers=True), within=2 * ANSWER_WITHIN)
    home.wait_until_free(_GONE_WITHIN)
