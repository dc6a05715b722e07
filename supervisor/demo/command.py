"""demo: deployments under a live bot, checked by the exchange."""

from __future__ import annotations

import os
import sys

import click
import msgspec

from ..cli.command import Done, local_command
from ..cli.context import CommandContext
from ..cli.exit_codes import BadInput, Exit
from ..system.install_hint import install_command

__all__ = ["demo"]


@local_command
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=None,
    help="How long the bot trades at least (default: 40).",
)
def demo(context: CommandContext, seconds: float | None) -> Done:
    """Run a small market and a live bot, with seven deployments that try to break it.

    Starts an exchange and a bot that trades on it, and swaps the bot's code while it trades: good changes, a new shape
    of the state, and releases that fail in every way. Then the exchange's ledger shows whether it noticed. Takes about
    a minute, in processes and a directory of its own, which are removed at the end.
    """
    try:
        from .finding import closing_lines
        from .picture import picture_for
        from .run import SECONDS, run
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("neverblink"):
            raise
        raise BadInput(f"the demo needs {missing.name}: {install_command('demo')}") from None
    out = sys.stderr if context.as_json else sys.stdout
    finding = run(picture_for(out), SECONDS if seconds is None else seconds, os.environ)
    for line in closing_lines(finding, context.screen):
        context.screen.line(line)
    return Done(msgspec.to_builtins(finding), Exit.DONE if finding.ok else Exit.BROKEN)
