"""init: where a bot begins, and with --git where pushes to it begin."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import Any

import click

from ..system.names import NAME_RULE, is_valid_name
from .command import Done, local_command
from .context import CommandContext
from .errors import BadInput
from .init_template import files

__all__ = ["init"]


@local_command
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--name", default="", help="The bot's name; by default the directory's.")
@click.option(
    "--git", "with_git", is_flag=True, help="Also a git repository, and one to push to that deploys."
)
def init(context: CommandContext, directory: Path, name: str, with_git: bool) -> Done:
    """Write a bot that runs into DIRECTORY (default: here): bot.py, a test, pyproject.toml, neverblink.toml, a README.

    Writes nothing over anything. With --git the bot is committed, and its home gets a bare repository with a hook:
    `git push live main` deploys, from here and from any other machine.
    """
    place = context.path(directory)
    name = name or re.sub(r"[^A-Za-z0-9]+", "-", place.name).strip("-")[:64] or "bot"
    if not is_valid_name(name):
        raise BadInput(f"{name!r} is not a valid name for a bot: use {NAME_RULE}")
    wanted = files(name, pushed=with_git)
    if place.exists() and not place.is_dir():
        raise BadInput(f"{place} is a file: name a directory")
    there = [file for file in wanted if (place / file).exists()]
    if there:
        raise BadInput(
            f"{place} has {', '.join(there)} already, and init writes over nothing: name another directory"
        )
    if with_git:
        # Its git is needed for nothing else.
        from .init_git import check_place

        check_place(place)
    _write(place, wanted)
    for file in wanted:
        context.screen.line(f"  wrote {place / file}")
    told: dict[str, Any] = {"directory": str(place), "name": name, "files": list(wanted)}
    go = "" if place == context.cwd else f"cd {quote(str(directory))} && "
    if with_git:
        from .init_git import begin

        told["repository"] = begin(context, place, name, go)
    else:
        context.screen.line(f"next: {context.screen.style(f'{go}neverblink up', bold=True)}")
    return Done(told)


def _write(place: Path, wanted: dict[str, str]) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        for file, text in wanted.items():
            with open(place / file, "x", encoding="utf-8") as out:
                out.write(text)
    except OSError as problem:
        raise BadInput(f"{place} can't be written: {problem.strerror}") from None
