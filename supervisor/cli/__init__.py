"""The command line, `neverblink COMMAND`: `command_group` lists the commands, `command` is what they share."""

from __future__ import annotations

import sys

from ..system.install_hint import install_command
from ..system.streams import complete_streams

__all__ = ["main"]


def main() -> None:
    """The `neverblink` script. A worker's environment has the script too, but not what the supervisor is made of."""
    complete_streams()
    try:
        from .command_group import neverblink
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("neverblink"):
            raise
        sys.stderr.write(
            f"neverblink: {missing.name} is not installed here: {install_command('supervisor')}\n"
        )
        sys.exit(2)
    neverblink.main(prog_name="neverblink")
