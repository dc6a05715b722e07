"""hook: a bare repository that deploys what is pushed to it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from shlex import quote
from typing import Any

import click
import msgspec

from ...protocol.commands import Deploy
from ...protocol.errors import NeverblinkError
from ...protocol.status import BranchSeen
from ..api.client import Client
from ..deploy.branch_watch import describe_undeployed, look
from ..hook.problems import of_home, of_repository
from ..release import git_hooks as hooks
from ..release.git_hooks import git_dir
from ..release.releases import ReleaseStore
from ..store.state_dir import Home
from ..terminal.screen import Screen
from .command import Done, Subgroup, local_command
from .context import CommandContext
from .exit_codes import Exit
from .releases import open_history
from .run_deployment import handoff_options, run_deployment

__all__ = ["hook"]

_repository = click.argument("repository", metavar="REPO.git", type=click.Path(path_type=Path))


@click.group(
    cls=Subgroup,
    epilog="Each of these takes --json, --home and --project, as every verb does: neverblink hook install --help",
)
def hook() -> None:
    """Deploy what is pushed to a bare repository: `git push live main`.

    The hooks hand each push of one branch to the supervisor and show the pusher what becomes of it. The supervisor
    builds and deploys; the push may be cut off, and the deployment goes on.
    """


@local_command
@_repository
@click.option("--branch", default="main", show_default=True, help="The branch that deploys.")
@click.option(
    "--gate",
    is_flag=True,
    help="Build, check and rehearse before the ref moves, and refuse the push if it fails.",
)
def install(context: CommandContext, repository: Path, branch: str, gate: bool) -> Done:
    """Deploy pushes to the bare repository REPO.git to the bot of this home.

    A hook that is there already stays, and runs first. Installing again changes the settings.
    """
    where = context.path(repository)
    context.look_near(where)
    home = context.home.path
    found = hooks.install(where, home, branch=branch, gate=gate)
    screen = context.screen
    for hook in found:
        if hook.state == "ours":
            after = screen.faint("  after the hook that was there") if hook.chained else ""
            screen.line(f"{screen.good('✓')} {hook.name:<13} {hook.path}{after}")
    what = "is built, checked and rehearsed, and then deploys" if gate else "deploys"
    screen.line(f"a push of {screen.style(branch, bold=True)} {what} to the bot in {home}")
    push = f"git remote add live {quote(str(git_dir(where)))} && git push live {quote(branch)}"
    screen.line(f"next: {screen.style(push, bold=True)}")
    return Done(_hook_facts(where, found))


@local_command
@_repository
def remove(context: CommandContext, repository: Path) -> Done:
    """Remove the hooks from REPO.git. A hook that was there before is restored, byte for byte."""
    where = context.path(repository)
    replaced = hooks.remove(where)
    screen = context.screen
    for hook in replaced:
        screen.line(
            screen.warn(
                f"{hook.path} is not neverblink's, so it stays; the earlier hook is in {hook.path}{hooks.BEFORE}"
            )
        )
    screen.line(f"{screen.good('removed')}  a push to {where} no longer deploys")
    return Done({"repository": str(where), "left": [str(hook.path) for hook in replaced]})


@local_command
@_repository
@click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
@click.option("--no-wait", is_flag=True, help="Return with the deployment's number at once.")
@handoff_options
def deploy(
    context: CommandContext,
    repository: Path,
    why: str,
    no_wait: bool,
    force: bool,
    replace: bool,
    change_bot: bool,
    as_read: bool,
    drop: tuple[str, ...],
) -> Done:
    """Deploy the current commit of REPO.git's branch, as a push would.

    For a push that arrived and was not deployed: deployments were locked, the bot was down, or the hook was killed.
    git calls no hook for a commit that is there already.

    Ctrl-C cancels the deployment, never the bot.
    """
    where = git_dir(context.path(repository))
    settings = hooks.settings(where)
    if settings is None:
        raise hooks.HookError(where, f"has no neverblink hook: run `neverblink hook install {where}`")
    for problem in of_home(settings):
        raise hooks.HookError(where, problem)
    seen = look(where, "")
    if seen is None or not seen.commit:
        raise hooks.HookError(where, f"has no branch {settings.branch}: push to it first")
    command = Deploy(
        repository=str(where),
        commit=seen.commit,
        ref=settings.branch,
        why=why,
        force=force,
        replace=replace,
        change_bot=change_bot,
        as_read=as_read,
        drop=drop,
    )
    doing = f"deploying {settings.branch}, {seen.commit[:8]} ({seen.subject})"
    with Client(Home(settings.home)) as client:
        return run_deployment(context.screen, client, command, wait=not no_wait, doing=doing)


@local_command
@_repository
def status(context: CommandContext, repository: Path) -> Done:
    """Show what a push to REPO.git would do, and any problems. Ends with 1 when there are problems."""
    where = context.path(repository)
    found = hooks.find(where)
    result = _hook_facts(where, found)
    settings = hooks.settings(where)
    problems = list(of_repository(where))
    result["problems"] = problems
    screen = context.screen
    if settings is not None:
        _row(screen, "home", str(settings.home))
        _row(screen, "branch", settings.branch + (", behind a gate" if settings.gate else ""))
        _row(screen, "python", str(settings.python))
    for hook in found:
        states = {
            "none": "none",
            "ours": "installed",
            "old": "installed by another version",
            "other": "not neverblink's",
        }
        _row(
            screen,
            hook.name,
            states[hook.state] + (", after the hook that was there" if hook.chained else ""),
        )
    seen = _pushed(where, settings)
    result["pushed"] = None if seen is None else msgspec.to_builtins(seen)
    if seen is not None and seen.commit:
        _row(screen, "pushed", describe_undeployed(seen) or f"{seen.commit[:8]} {seen.subject}")
    for problem in problems:
        screen.line(f"{screen.bad('✗')} {problem}")
    return Done(result, Exit.BROKEN if problems else Exit.DONE)


def _pushed(where: Path, settings: hooks.HookSettings | None) -> BranchSeen | None:
    """The state of the branch that deploys, from the home's files, as far as they are readable."""
    if settings is None:
        return None
    home = Home(settings.home)
    running = ""
    with contextlib.suppress(NeverblinkError, OSError):
        running = ReleaseStore(home.releases).find("current").commit
    seen = look(git_dir(where), running)
    if seen is None or not seen.commit:
        return seen
    with contextlib.suppress(NeverblinkError, OSError), open_history(home) as past:
        number, outcome = past.last_of(seen.commit)
        seen = msgspec.structs.replace(seen, deployment=number, outcome=outcome)
    return seen


def _row(screen: Screen, name: str, text: str) -> None:
    screen.line(f"{screen.faint(f'{name:<13}')} {text}")


def _hook_facts(where: Path, found: list[hooks.Hook]) -> dict[str, Any]:
    settings = hooks.settings(where)
    return {
        "repository": str(git_dir(where)),
        "settings": None if settings is None else msgspec.to_builtins(settings, enc_hook=str),
        "hooks": msgspec.to_builtins(found, enc_hook=str),
    }


for command in (install, remove, status, deploy):
    hook.add_command(command)
