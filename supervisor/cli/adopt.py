"""adopt: shows the change that puts an ordinary script on neverblink, and makes it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import msgspec

from ..adopt.adopt import AdoptedScript
from ..adopt.adopt import adopt as adopted
from ..config.config import FILE_NAME, ConfigError, NoConfig, load
from ..system.account import expanded
from ..terminal.screen import Screen, put
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput

__all__ = ["adopt"]


@local_command
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--write", is_flag=True, help="Make the change without asking.")
def adopt(context: CommandContext, script: Path, write: bool) -> Done:
    """Show the smallest change that puts SCRIPT on neverblink, and say what has to be decided.

    It finds the loop of the script, its period, and the variables that the loop changes, which become the state. The
    change is a unified diff. It is made only with --write, or after a yes. With it, neverblink.toml is written beside
    the script, if there is none.
    """
    path = context.cwd / expanded(script)
    found = adopted(path)
    screen = context.screen
    config = path.parent / FILE_NAME
    if found.joins is not None:
        screen.line(f"{path.name} is on neverblink already (line {found.joins}): nothing to change")
        return Done({"script": str(path), "joins": found.joins, "diff": "", "written": []})
    if not context.as_json:
        put(sys.stdout, _coloured(screen, found.diff))
        _show(screen, found)
    other = _other_bot(path.parent, found.bot)
    if other:
        screen.line(screen.warn(other))
    written: list[str] = []
    if write or _confirmed(context, path, config):
        _replace(path, found.text)
        written.append(str(path))
        if not config.exists() and not other:
            _replace(config, found.config)
            written.append(str(config))
        for name in written:
            screen.line(f"  wrote {name}")
        screen.line(f"next: {screen.style('neverblink check', bold=True)}")
    elif not context.as_json:
        screen.line(
            f"nothing is written: {screen.style(f'neverblink adopt {script} --write', bold=True)} makes the change"
        )
    result: dict[str, Any] = {
        "script": str(path),
        "joins": None,
        "bot": found.bot,
        "diff": found.diff,
        "config": found.config,
        "state": list(found.fields),
        "cautions": msgspec.to_builtins(found.cautions),
        "libraries": list(found.libraries),
        "files": list(found.files),
        "written": written,
    }
    return Done(result)


def _show(screen: Screen, found: AdoptedScript) -> None:
    """Show what the change is, and what it leaves to the author."""
    screen.line()
    kept = ", ".join(f"{field['name']}: {field['type']}" for field in found.fields)
    screen.line(f"{screen.style('bot', bold=True)}    {found.bot}")
    screen.line(
        f"{screen.style('state', bold=True)}  {kept or 'empty: no variable of the loop can be moved into it'}"
    )
    for caution in found.cautions:
        screen.line(f"{screen.warn(f'line {caution.line}:')} {caution.what}")
        screen.line(f"    {caution.mend}")
    for name in found.files:
        place = "data_directory() / " + repr(name)
        screen.line(
            f"{screen.warn('files:')} {name} moves to {place if '/' not in name else 'no other place'}"
        )
        screen.line(
            "    copy the file there if the bot needs what is in it"
            if "/" not in name
            else "    a release is read-only: write it below data_directory()"
        )
    if found.libraries:
        screen.line(f"{screen.warn('libraries:')} {', '.join(found.libraries)}")
        screen.line(
            "    name them in requirements.txt or pyproject.toml: a release gets its environment from there"
        )
    screen.line(
        "Not seen: state inside objects of libraries, what other modules of the project keep, and effects"
    )
    screen.line("    before the loop, which every process has. Read the guide: docs/authors/loop.md")


def _coloured(screen: Screen, diff: str) -> str:
    def line(text: str) -> str:
        if text.startswith("+"):
            return screen.good(text)
        return screen.bad(text) if text.startswith("-") else text

    return "".join(f"{line(text)}\n" for text in diff.splitlines())


def _other_bot(project: Path, bot: str) -> str:
    """What the configuration of the project says of another bot, "" when there is none."""
    try:
        there = load(project)
    except NoConfig:
        return ""
    except ConfigError as problem:
        return problem.message
    return "" if there.bot == bot else f'{there.path} has bot = "{there.bot}": write bot = "{bot}" there'


def _confirmed(context: CommandContext, path: Path, config: Path) -> bool:
    if context.as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    more = "" if config.exists() else f" and write {config.name}"
    return click.confirm(f"Change {path.name}{more}?", default=False)


def _replace(path: Path, text: str) -> None:
    """Write the file in one step, with the mode it had."""
    try:
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_umask()
        target = path.resolve()
        with tempfile.NamedTemporaryFile(
            "w", dir=target.parent, encoding="utf-8", newline="", delete=False
        ) as file:
            file.write(text)
        os.chmod(file.name, mode)
        os.replace(file.name, target)
    except OSError as problem:
        raise BadInput(f"{path} can't be written: {problem.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
