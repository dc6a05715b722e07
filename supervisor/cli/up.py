"""up: start the bot and supervise it, in the foreground."""

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
"""Time limit, in seconds, for a supervisor to end after it has confirmed."""


@local_command
@click.option("--fresh", is_flag=True, help="Start with an empty state; the earlier state is set aside.")
@click.option(
    "--replace",
    is_flag=True,
    help="Take over from the running supervisor, whose workers keep running: to upgrade neverblink itself.",
)
@click.option(
    "--rescue",
    is_flag=True,
    help="End a bot whose home was removed while it ran, and continue from its last tick.",
)
@click.option(
    "--last-readable",
    is_flag=True,
    help="If the newest state cannot be read, start paused with the newest readable one.",
)
@click.option(
    "--from",
    "directory",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Start with the code in this directory instead of the release that led last.",
)
@click.option(
    "--release",
    default="",
    metavar="RELEASE",
    shell_complete=complete_release,
    help="Start with this kept release.",
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
    """Start the bot and its supervisor in the foreground, and print what happens.

    A bot that runs without a supervisor is adopted as it is. A bot that has led before is started with the release that
    led last, repeatedly until it leads; a new bot is started from the project's directory.

    Ctrl-C stops the bot at its next boundary, as `down` does; a second one ends it immediately. What the bot
    itself prints is in `neverblink logs -f`.
    """
    chosen = _chosen(context, directory, release, drop)
    if chosen is not None and replace:
        raise BadInput("--replace takes over the bot as it runs: use `neverblink deploy` for other code")
    config = _config(context, chosen)
    if fresh and replace:
        raise BadInput("--fresh sets the state aside, --replace keeps it: use one of them")
    if fresh and rescue:
        raise BadInput("--fresh sets the state aside, --rescue keeps it: use one of them")
    if fresh and last_readable:
        raise BadInput("--fresh sets the state aside, --last-readable keeps it: use one of them")
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
        raise BadInput("--from and --release both name the code to start with: use one of them")
    if directory is None and not release:
        if drop:
            raise BadInput(
                "--drop is for other code than the one that led last: name it with --from or --release"
            )
        return None
    return Chosen(context.path(directory) if directory is not None else None, release, drop)


def _config(context: CommandContext, chosen: Chosen | None) -> Config:
    """The project's configuration, or that of the release that led last if it cannot be read."""
    try:
        return context.config
    except ConfigError as problem:
        releases = ReleaseStore(context.home.releases) if context.home.releases.is_dir() else None
        current = releases.current() if releases is not None else None
        if chosen is not None or releases is None or current is None or not releases.has_led(current):
            raise
        release = releases.get(current)
        context.screen.line(
            context.screen.warn(f"{problem.message}; using the configuration of release {current}")
        )
        # Relative paths in it refer to the project.
        return msgspec.structs.replace(load(release.path, context.project), path=context.project / FILE_NAME)


def _send_away(context: CommandContext, home: Home) -> None:
    """Ask the supervisor of the home to leave, if there is one, and wait until it has.

    This program is completely loaded by now, so the workers are without a supervisor only for the release and the
    adoption.
    """
    if home.owner() is None:
        return
    with context.client() as client:
        try:
            client.ask(
                Down(why="another supervisor takes over", leave_workers=True), within=2 * ANSWER_WITHIN
            )
        except Unreachable:
            # It may have ended before it answered: then the home is free.
            if home.owner() is not None:
                raise
    home.wait_until_free(_GONE_WITHIN)
