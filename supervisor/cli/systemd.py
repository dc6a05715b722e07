"""systemd: print the unit that runs the supervisor, with the reasons for what is in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from ..system.account import account_name
from ..system.text import visible
from ..terminal.screen import put
from .command import Done, local_command
from .context import CommandContext
from .systemd_unit import unit_of

__all__ = ["systemd"]


@local_command
@click.option("--user", is_flag=True, help="For your own manager (systemctl --user), not for the system's.")
def systemd(context: CommandContext, user: bool) -> Done:
    """Print a systemd unit for the bot's supervisor, and in it how to install it.

    The bot ticks on when the unit is restarted, and when its supervisor crashes. The unit runs as the user
    who prints it.
    """
    unit = unit_of(
        context.config,
        context.home.path,
        _command(),
        account=account_name(),
        user=user,
        search=context.environment.get("PATH", ""),
    )
    if not context.as_json:
        put(sys.stdout, visible(unit.text))
    return Done(msgspec.to_builtins(unit))


def _command() -> list[str]:
    """How neverblink is called, from anywhere."""
    script = Path(sys.executable).with_name("neverblink")
    return (
        [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "neverblink.supervisor.cli"]
    )
