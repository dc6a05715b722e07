"""completion: the script that teaches a shell our verbs and options."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from ..terminal.screen import put
from .command import Done, local_command
from .context import CommandContext

__all__ = ["completion"]

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
