"""hook: a bare repository that deploys what is pushed to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ..hook import install as hooks
from ..hook.install import git_dir
from ..hook.problems import of_repository
from .exits import Exit
from .here import Here
from .screen import Screen
from .verb import Done, verb

__all__ = ["hook"]

_repository = click.argument("repository", metavar="REPO.git", type=click.Path(path_type=Path))


@click.group(
    epilog="Each of these takes --json, --home and --project, as every verb does: neverblink hook install --help"
)
def hook() -> None:
    """Deploy what is pushed to a bare repository: `git push live main`.

    The hooks hand each push of one branch to the supervisor and show the pusher what becomes of it. The supervisor
    builds and deploys; whoever pushes may hang up, and the deployment goes on.
    """


@verb
@_repository
@click.option("--branch", default="main", show_default=True, help="The branch that deploys.")
@click.option(
    "--gate",
    is_flag=True,
    help="Build, check and rehearse before the ref moves, and refuse the push if it fails.",
)
def install(here: Here, repository: Path, branch: str, gate: bool) -> Done:
    """Have pushes to the bare repository REPO.git deploy to the bot of this home.

    A hook that is there already stays, and runs first. Installing again changes the settings.
    """
    where = here.path(repository)
    here.look_near(where)
    home = here.home.path
    found = hooks.install(where, home, branch=branch, gate=gate)
    screen = here.screen
    for one in found:
        if one.state == "ours":
            after = screen.faint("  after the hook that was there") if one.chained else ""
            screen.line(f"{screen.good('✓')} {one.name:<13} {one.path}{after}")
    what = "is built, checked and rehearsed, and then deploys" if gate else "deploys"
    screen.line(f"a push of {screen.style(branch, bold=True)} {what} to the bot in {home}")
    screen.line(
        f"next: {screen.style(f'git remote add live {git_dir(where)} && git push live {branch}', bold=True)}"
    )
    return Done(_told(where, found))


@verb
@_repository
def remove(here: Here, repository: Path) -> Done:
    """Take the hooks out of REPO.git. A hook that was there before is in its place again, byte for byte."""
    where = here.path(repository)
    replaced = hooks.remove(where)
    screen = here.screen
    for one in replaced:
        screen.line(
            screen.warn(
                f"{one.path} is not ours, so it stays; the one from before is in {one.path}{hooks.BEFORE}"
            )
        )
    screen.line(f"{screen.good('removed')}  a push to {where} deploys nothing now")
    return Done({"repository": str(where), "left": [str(one.path) for one in replaced]})


@verb
@_repository
def status(here: Here, repository: Path) -> Done:
    """Say what a push to REPO.git would do, and what is in its way. Ends with 1 when something is."""
    where = here.path(repository)
    found = hooks.find(where)
    told = _told(where, found)
    settings = hooks.settings(where)
    problems = list(of_repository(where))
    told["problems"] = problems
    screen = here.screen
    if settings is not None:
        _row(screen, "home", str(settings.home))
        _row(screen, "branch", settings.branch + (", behind a gate" if settings.gate else ""))
        _row(screen, "python", str(settings.python))
    for one in found:
        words = {
            "none": "none",
            "ours": "installed",
            "old": "installed by another version",
            "other": "somebody else's",
        }
        _row(screen, one.name, words[one.state] + (", after the hook that was there" if one.chained else ""))
    for problem in problems:
        screen.line(f"{screen.bad('✗')} {problem}")
    return Done(told, Exit.BROKEN if problems else Exit.DONE)


def _row(screen: Screen, name: str, text: str) -> None:
    screen.line(f"{screen.faint(f'{name:<13}')} {text}")


def _told(where: Path, found: list[hooks.Hook]) -> dict[str, Any]:
    settings = hooks.settings(where)
    return {
        "repository": str(git_dir(where)),
        "settings": None if settings is None else msgspec.to_builtins(settings, enc_hook=str),
        "hooks": msgspec.to_builtins(found, enc_hook=str),
    }


for command in (install, remove, status):
    hook.add_command(command)
