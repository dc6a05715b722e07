"""schema: what the two files of a home look like, for those who check them before they write or read."""

from __future__ import annotations

import click
import msgspec

from ..control_files.json_shapes import control_schema, status_schema
from .command import Done, local_command
from .context import CommandContext

__all__ = ["schema"]


@local_command
@click.argument("which", type=click.Choice(["status", "control"]))
def schema(context: CommandContext, which: str) -> Done:
    """Print the JSON Schema of status.json, which says what is, or of control.json, which says what you want."""
    found = status_schema() if which == "status" else control_schema()
    context.screen.line(msgspec.json.format(msgspec.json.encode(found)).decode())
    return Done(found)
