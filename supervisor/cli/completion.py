"""completion: the script with which a shell completes commands, options and release ids."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from ...protocol.errors import NeverblinkError
from ..release.releases import ReleaseStore
from ..terminal.screen import Screen, put
from .command import Done, local_command
from .context import CommandContext

__all__ = ["complete_release", "completion"]

_HOW = {
    "bash": 'eval "$(neverblink completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(neverblink completion zsh)" in ~/.zshrc, after compinit',
    "fish": "neverblink completion fish > ~/.config/fish/completions/neverblink.fish",
}


@local_command
@click.argument("shell", type=click.Choice(list(_HOW)))
def completion(context: CommandContext, shell: str) -> Done:
    """Print the completion script for SHELL.

    \b
    bash:  eval "$(neverblink completion bash)"    in ~/.bashrc
    zsh:   eval "$(neverblink completion zsh)"     in ~/.zshrc, after compinit
    fish:  neverblink completion fish > ~/.config/fish/completions/neverblink.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    from .command_group import neverblink

    script = kind(neverblink, {}, "neverblink", "_NEVERBLINK_COMPLETE").source()
    if not context.as_json:
        put(sys.stdout, script)
    return Done({"shell": shell, "script": script, "how": _HOW[shell]})


def complete_release(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The ids that begin with what was typed, newest first; none where there is no home."""
    place = CommandContext(
        as_json=False,
        home_option=context.params.get("home"),
        project_option=context.params.get("project"),
        environment=os.environ,
        cwd=Path.cwd(),
        screen=Screen(io.StringIO()),
    )
    try:
        found = ReleaseStore(place.home.releases).list()
    except (NeverblinkError, OSError):
        return []
    return [release.id for release in found if release.id.startswith(incomplete)]
