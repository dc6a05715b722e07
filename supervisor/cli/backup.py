"""backup: a copy of the home that `up` accepts as a new life of the bot, here or on another machine."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ..store.backup import back_up
from ..system.format import count, size
from .command import Done, local_command
from .context import CommandContext

__all__ = ["backup"]


@local_command
@click.argument("directory", type=click.Path(path_type=Path))
def backup(context: CommandContext, directory: Path) -> Done:
    """Copy the bot's home to DIRECTORY, also while the bot runs. `neverblink up` starts the bot from the copy.

    In it are the state, the releases, the history, the bot's own data, and who has access. Environments are built again
    where it is started.
    """
    made = back_up(context.home, context.path(directory))
    screen = context.screen
    screen.line(
        f"{screen.good('backed up')}  {count(made.segments, 'segment')} of the journal, {size(made.bytes)}: {made.path}"
    )
    return Done(msgspec.to_builtins(made))
