"""diff: the commits that a deployment would add, and those that it would remove."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..release import git
from ..release.releases import NoSuchRelease, Release, ReleaseStore
from ..store.history_rows import CommitNote
from ..system.format import count
from .command import Done, local_command
from .completion import complete_release
from .context import CommandContext
from .exit_codes import BadInput
from .target import DeployTarget, find_target

__all__ = ["diff"]


@local_command
@click.argument("target", metavar="[REF|RELEASE]", default="HEAD", shell_complete=complete_release)
def diff(context: CommandContext, target: str) -> Done:
    """Show the commits between what runs and what would be deployed (default: HEAD), newest first."""
    running = _running(context)
    there, repository = _commit_of(find_target(context, target), ReleaseStore(context.home.releases))
    came = git.log(repository, running.commit, there)
    undone = git.log(repository, there, running.commit)
    screen = context.screen
    screen.line(f"release {running.id} runs, of commit {running.commit[:8]}; {target} is commit {there[:8]}")
    for mark, notes in ((screen.good("+"), came), (screen.bad("-"), undone)):
        for note in notes:
            screen.line(f"{mark} {note.commit[:8]} {note.subject}  {screen.faint(note.author)}")
    if not came and not undone:
        screen.line("no commits between them")
    elif undone:
        screen.line(screen.warn(f"{count(len(undone), 'commit')} that runs now would be removed"))
    result: dict[str, Any] = {
        "release": running.id,
        "from": running.commit,
        "to": there,
        "commits": _plain(came),
        "undone": _plain(undone),
    }
    return Done(result)


def _running(context: CommandContext) -> Release:
    try:
        release = ReleaseStore(context.home.releases).find("current")
    except (NoSuchRelease, OSError):
        raise BadInput(
            f"home {context.home.path}: no release has led yet: start with `neverblink up`"
        ) from None
    if not release.commit:
        raise BadInput(
            f"release {release.id} runs, and it was made from the directory {release.origin}, not from a commit: "
            "deploy a commit first, as in `neverblink deploy HEAD`"
        )
    return release


def _commit_of(target: DeployTarget, releases: ReleaseStore) -> tuple[str, Path]:
    """The commit of the target, and a repository that has it."""
    if target.commit is not None:
        return target.commit.commit, target.commit.repository
    release = releases.get(target.release) if target.release else None
    if release is None or not release.commit:
        raise BadInput(f"{target.shown} has no commit: name a commit, or a release made from one")
    found = git.resolve(target.near, release.commit)
    if found is None:
        raise BadInput(
            f"there is no git repository with {release.commit[:8]} around {target.near}: go to the bot's"
        )
    return release.commit, found.repository


def _plain(notes: list[CommitNote]) -> list[dict[str, str]]:
    return [{name: getattr(note, name) for name in ("commit", "subject", "author")} for note in notes]
