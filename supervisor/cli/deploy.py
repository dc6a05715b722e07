"""deploy, abort, rollback, restart: the commands that change which code leads."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ...protocol.commands import Abort, Deploy, Rollback
from ..system.account import expanded
from .command import Done, remote_command
from .completion import complete_release
from .context import CommandContext
from .run_deployment import drop_option, force_option, handoff_options, run_deployment
from .target import find_target

__all__ = ["abort", "deploy", "restart", "rollback"]


@remote_command
@click.argument("target", metavar="REF|PATH|RELEASE", shell_complete=complete_release)
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
@click.option("--no-wait", is_flag=True, help="Return with the deployment's number at once.")
@click.option("--dry-run", is_flag=True, help="Rehearse on the live state, then stop without a handoff.")
@handoff_options
@click.option("--python", default="", metavar="PYTHON", help="Run this release on another interpreter.")
def deploy(
    context: CommandContext,
    target: str,
    why: str,
    no_wait: bool,
    dry_run: bool,
    force: bool,
    replace: bool,
    change_bot: bool,
    as_read: bool,
    drop: tuple[str, ...],
    python: str,
) -> Done:
    """Hand the bot over to new code, between two of its ticks.

    The code is a directory (PATH), a commit of the git repository around you (REF: what was committed, whatever lies
    in the working tree), or a RELEASE that is kept. An immutable release is made of it, with the environment its files
    ask for; a worker starts on that, rehearses on the live state, and takes over at the next boundary. The old worker
    follows along until the probation is over, ready to take the bot back.

    Ctrl-C cancels the deployment, never the bot.
    """
    found = find_target(context, target)
    context.look_near(found.near)
    if found.commit is not None and found.commit.dirty:
        context.screen.line(context.screen.warn(f"uncommitted changes are not part of {found.shown}"))
    command = Deploy(
        why=why,
        force=force,
        dry_run=dry_run,
        replace=replace,
        change_bot=change_bot,
        as_read=as_read,
        drop=drop,
        python=_interpreter(context, python),
    )
    command = msgspec.structs.replace(command, **found.words)
    with context.client() as client:
        return run_deployment(
            context.screen, client, command, wait=not no_wait, doing=f"deploying {found.shown}"
        )


@remote_command
@click.argument("release", default="", shell_complete=complete_release)
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
@click.option("--no-wait", is_flag=True, help="Return with the deployment's number at once.")
@force_option
@drop_option
def rollback(
    context: CommandContext, release: str, why: str, no_wait: bool, force: bool, drop: tuple[str, ...]
) -> Done:
    """Hand the bot back to the previous release, or to RELEASE, with its state as it is now.

    During a probation this is one message: the old worker is still there and up to date.
    """
    doing = f"rolling back to {release or 'the previous release'}"
    command = Rollback(release=release, why=why, force=force, drop=drop)
    with context.client() as client:
        return run_deployment(context.screen, client, command, wait=not no_wait, doing=doing)


@remote_command
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
@click.option("--no-wait", is_flag=True, help="Return with the deployment's number at once.")
@force_option
def restart(context: CommandContext, why: str, no_wait: bool, force: bool) -> Done:
    """Move the bot to a new process on the same release, with its state.

    While the bot runs this is a deployment of that release: a handoff, and no tick is missed. A bot that is down is
    started at once. Unlike `down` and `up` it runs no `on_stop`, and the supervisor stays.
    """
    command = Deploy(release="current", why=why or "restart", force=force)
    with context.client() as client:
        return run_deployment(context.screen, client, command, wait=not no_wait, doing="restarting the bot")


@remote_command
@click.argument("deployment", type=int, default=0)
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
def abort(context: CommandContext, deployment: int, why: str) -> Done:
    """Cancel the current deployment, or DEPLOYMENT, which may also be waiting. The bot goes on."""
    with context.client() as client:
        result = client.ask(Abort(deployment=deployment, why=why))
    context.screen.line(
        f"deployment {result.get('deployment', deployment)} is being cancelled; the bot goes on"
    )
    return Done(result)


def _interpreter(context: CommandContext, python: str) -> str:
    return str(context.cwd / expanded(Path(python))) if "/" in python else python
