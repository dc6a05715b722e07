"""init --git: the bot as a first commit, and a bare repository in its home that deploys what is pushed to it."""

from __future__ import annotations

import socket
from pathlib import Path
from shlex import quote

from ..release.git import GitError, ask
from ..release.git_hooks import install
from ..store.state_dir import Home
from ..system.account import account_name
from .context import CommandContext
from .errors import BadInput

__all__ = ["BRANCH", "REMOTE", "begin", "check_place"]

BRANCH = "main"
REMOTE = "live"
_BARE = "live.git"


def check_place(place: Path) -> None:
    """Raise `BadInput` when `place` is in a repository already: whose commit the bot is to be is not ours to say."""
    nearest = next(there for there in (place, *place.parents) if there.is_dir())
    try:
        top = ask(nearest, "rev-parse", "--absolute-git-dir")
    except GitError as problem:
        if "no git here" in problem.message:
            raise
        return
    raise BadInput(
        f"{place} is in the git repository {top}: run `neverblink init` without --git, make a repository to push "
        "to with `git init --bare`, and give it the hook with `neverblink hook install`"
    )


def begin(context: CommandContext, place: Path, name: str, go: str) -> str:
    """Make both repositories of the bot in `place`, and say how to push; return the path of the one to push to."""
    home = Home.open(context.home_of(place).path)
    bare = home.path / _BARE
    ask(place, "init", "--quiet")
    ask(place, "symbolic-ref", "HEAD", f"refs/heads/{BRANCH}")
    ask(place, "add", "--all")
    ask(place, *_identity(place), "commit", "--quiet", "--message", f"Begin {name}")
    if not bare.exists():
        ask(place, "init", "--quiet", "--bare", str(bare))
        ask(bare, "symbolic-ref", "HEAD", f"refs/heads/{BRANCH}")
    ask(place, "remote", "add", REMOTE, str(bare))
    install(bare, home.path, branch=BRANCH, gate=False)
    screen, account = context.screen, f"{account_name()}@{socket.gethostname()}"
    screen.line(f"  committed, and {bare} deploys what is pushed to its branch {BRANCH}")
    screen.line(f"next: {screen.style(f'{go}neverblink up', bold=True)}")
    screen.line(
        f"then, in another terminal, after each commit: {screen.style(f'git push {REMOTE} {BRANCH}', bold=True)}"
    )
    screen.line("or from a laptop, once it may log in here by ssh:")
    for line in (
        f"git clone {quote(f'{account}:{place}')} {name} && cd {name}",
        f"git remote add {REMOTE} {quote(f'{account}:{bare}')}",
        f"git push {REMOTE} {BRANCH}",
    ):
        screen.line(f"  {screen.style(line, bold=True)}")
    return str(bare)


def _identity(place: Path) -> list[str]:
    """A name for the first commit, when git has none configured, as on many servers."""
    try:
        ask(place, "var", "GIT_AUTHOR_IDENT")
    except GitError:
        return ["-c", "user.name=neverblink", "-c", f"user.email=neverblink@{socket.gethostname()}"]
    return []
