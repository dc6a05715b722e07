"""init: writes a new bot.

With --git it also commits the bot and makes a bare repository that deploys what is pushed to it.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from shlex import quote
from typing import Any

import click

from ..release.git import GitError, ask
from ..release.git_hooks import install
from ..store.state_dir import Home
from ..system.account import account_name
from ..system.text import NAME_RULE, is_valid_name
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput
from .init_template import files, template_files, templates

__all__ = ["init"]

_BRANCH = "main"
_REMOTE = "live"
_BARE = "live.git"


@local_command
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--name", default="", help="The bot's name; by default the directory's.")
@click.option(
    "--template", default="", metavar="NAME", help="Copy this example instead; `--template list` lists them."
)
@click.option(
    "--git", "with_git", is_flag=True, help="Also a git repository, and one to push to that deploys."
)
def init(context: CommandContext, directory: Path, name: str, template: str, with_git: bool) -> Done:
    """Write a working bot to DIRECTORY (default: here): bot.py, a test, pyproject.toml, neverblink.toml, a README.

    The bot trades on a simulated exchange, so it needs no connection. With --template it is one of the examples, each
    with a market of its own. Never overwrites a file.

    With --git it commits the bot and makes a bare repository with a hook in its home: `git push live main` deploys,
    from here and from other machines.
    """
    if template == "list":
        for known in templates():
            context.screen.line(known)
        return Done({"templates": templates()})
    if template and template not in templates():
        raise BadInput(f"there is no template {template!r}: choose one of {', '.join(templates())}")
    place = context.path(directory)
    name = name or re.sub(r"[^A-Za-z0-9]+", "-", place.name).strip("-")[:64] or "bot"
    if not is_valid_name(name):
        raise BadInput(f"{name!r} is not a valid name for a bot: use {NAME_RULE}")
    wanted = template_files(template, name) if template else files(name, pushed=with_git)
    if place.exists() and not place.is_dir():
        raise BadInput(f"{place} is a file: name a directory")
    there = [file for file in wanted if (place / file).exists()]
    if there:
        raise BadInput(
            f"{place} has {', '.join(there)} already, and init never overwrites a file: name another directory"
        )
    if with_git:
        _check_place(place)
    _write(place, wanted)
    for file in wanted:
        context.screen.line(f"  wrote {place / file}")
    result: dict[str, Any] = {"directory": str(place), "name": name, "files": list(wanted)}
    go = "" if place == context.cwd else f"cd {quote(str(directory))} && "
    if with_git:
        result["repository"] = _make_repositories(context, place, name, go)
    else:
        context.screen.line(f"next: {context.screen.style(f'{go}neverblink up', bold=True)}")
    editor = context.screen.style("neverblink env --path", bold=True)
    context.screen.line(f"your editor finds neverblink with the Python interpreter that {editor} prints")
    return Done(result)


def _write(place: Path, wanted: dict[str, str]) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        for file, text in wanted.items():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            with open(place / file, "x", encoding="utf-8") as out:
                out.write(text)
    except OSError as problem:
        raise BadInput(f"{place} can't be written: {problem.strerror}") from None


def _check_place(place: Path) -> None:
    """Raise `BadInput` when `place` is already in a repository: the user decides where the bot is committed."""
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


def _make_repositories(context: CommandContext, place: Path, name: str, go: str) -> str:
    """Make both repositories of the bot in `place`, and show how to push; return the path of the bare one."""
    home = Home.open(context.home_of(place).path)
    bare = home.path / _BARE
    ask(place, "init", "--quiet")
    ask(place, "symbolic-ref", "HEAD", f"refs/heads/{_BRANCH}")
    ask(place, "add", "--all")
    ask(place, *_identity(place), "commit", "--quiet", "--message", f"Begin {name}")
    if not bare.exists():
        ask(place, "init", "--quiet", "--bare", str(bare))
        ask(bare, "symbolic-ref", "HEAD", f"refs/heads/{_BRANCH}")
    ask(place, "remote", "add", _REMOTE, str(bare))
    install(bare, home.path, branch=_BRANCH, gate=False)
    screen, account = context.screen, f"{account_name()}@{socket.gethostname()}"
    screen.line(f"  committed, and {bare} deploys what is pushed to its branch {_BRANCH}")
    screen.line(f"next: {screen.style(f'{go}neverblink up', bold=True)}")
    screen.line(
        f"then, in another terminal, after each commit: {screen.style(f'git push {_REMOTE} {_BRANCH}', bold=True)}"
    )
    screen.line("or from a laptop, once it may log in here by ssh:")
    for line in (
        f"git clone {quote(f'{account}:{place}')} {name} && cd {name}",
        f"git remote add {_REMOTE} {quote(f'{account}:{bare}')}",
        f"git push {_REMOTE} {_BRANCH}",
    ):
        screen.line(f"  {screen.style(line, bold=True)}")
    return str(bare)


def _identity(place: Path) -> list[str]:
    """Options that name an author for the first commit when git has none configured, as on many servers."""
    try:
        ask(place, "var", "GIT_AUTHOR_IDENT")
    except GitError:
        return ["-c", "user.name=neverblink", "-c", f"user.email=neverblink@{socket.gethostname()}"]
    return []
