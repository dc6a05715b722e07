"""up: start the bot and look after it, in the foreground."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from ...protocol.commands import Down
from ..api.client import ANSWER_WITHIN, Unreachable
from ..bot.bring_up import StartFailed
from ..config.config import FILE_NAME, Config, ConfigError, load
from ..daemon import run
from ..deploy.first_release import Chosen
from ..release.releases import ReleaseStore
from ..store.state_dir import Home
from .command import Done, local_command
from .completion import complete_release
from .context import CommandContext
from .exit_codes import BadInput, Exit
from .run_deployment import drop_option

__all__ = ["up"]

_GONE_WITHIN = 15.0
"""Seconds that a supervisor has to end after it has said that it does."""


@local_command
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
@click.option(
    "--last-readable",
    is_flag=True,
    help="If the newest state cannot be read, begin with the newest one that can, paused.",
)
@click.option(
    "--from",
    "directory",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Begin with the code in this directory, and not with the release that led last.",
)
@click.option(
    "--release",
    default="",
    metavar="RELEASE",
    shell_complete=complete_release,
    help="Begin with this release, which is kept.",
)
@drop_option
def up(
    context: CommandContext,
    fresh: bool,
    replace: bool,
    rescue: bool,
    last_readable: bool,
    directory: Path | None,
    release: str,
    drop: tuple[str, ...],
) -> Done:
    """Start the bot and its supervisor, in the foreground, and say what happens.

    A bot that is alive without a supervisor is adopted as it runs. One that has led before goes on with the release
    that led last, and is tried until it leads; a new one begins with the project's directory.

    Ctrl-C stops the bot at its next boundary, as `down` does; a second one ends it where it stands. What the bot
    itself prints is in `neverblink logs -f`.
    """
    chosen = _chosen(context, directory, release, drop)
    if chosen is not None and replace:
        raise BadInput("--replace takes over the bot as it runs: use `neverblink deploy` for other code")
    config = _config(context, chosen)
    if fresh and replace:
        raise BadInput("--fresh sets the state aside, --replace goes on with it: say one of them")
    if fresh and rescue:
        raise BadInput("--fresh sets the state aside, --rescue goes on with it: say one of them")
    if fresh and last_readable:
        raise BadInput("--fresh sets the state aside, --last-readable goes on with it: say one of them")
    home = Home.open(context.home.path)
    if replace:
        _send_away(context, home)
    try:
        code = asyncio.run(
            run(
                config,
                home,
                fresh=fresh,
                rescue=rescue,
                last_readable=last_readable,
                chosen=chosen,
                environment=context.environment,
                screen=sys.stderr if context.as_json else sys.stdout,
            )
        )
    except StartFailed as failed:
        if failed.log:
            failed.message += f" (its log: {failed.log})"
        raise
    return Done({"bot": config.name, "home": str(home.path), "well": code == 0}, Exit(code))


def _chosen(
    context: CommandContext, directory: Path | None, release: str, drop: tuple[str, ...]
) -> Chosen | None:
    if directory is not None and release:
        raise BadInput("--from and --release name two codes to begin with: use one of them")
    if directory is None and not release:
        if drop:
            raise BadInput(
                "--drop is for other code than the one that led last: name it with --from or --release"
            )
        return None
    return Chosen(context.path(directory) if directory is not None else None, release, drop)


def _config(context: CommandContext, chosen: Chosen | None) -> Config:
    """The project's configuration, or, when that can't be read, the one of the release that led last."""
    try:
        return context.config
    except ConfigError as problem:
        releases = ReleaseStore(context.home.releases) if context.home.releases.is_dir() else None
        current = releases.current() if releases is not None else None
        if chosen is not None or releases is None or current is None or not releases.has_led(current):
            raise
        release = releases.get(current)
        context.screen.line(
            context.screen.warn(f"{problem.message}; going on by the configuration of release {current}")
        )
        # Relative words in it mean the project.
        return msgspec.structs.replace(load(release.path, context.project), path=context.project / FILE_NAME)


def _send_away(context: CommandContext, home: Home) -> None:
    """Have the supervisor that owns the home leave, if there is one, and wait until it has.

    All of this program is loaded by now: the workers are without a supervisor for as long as it takes to let go of
    them here and to take them up there.
    """
    if home.owner() is None:
        return
    with context.client() as client:
        try:
            client.ask(
                Down(why="another supervisor takes over", leave_workers=True), within=2 * ANSWER_WITHIN
            )
        except Unreachable:
            # It may have ended before, or without, its answer: then nothing is in the way.
            if home.owner() is not None:
                raise
    home.wait_until_free(_GONE_WITHIN)
