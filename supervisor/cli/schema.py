"""schema: the JSON Schemas of status.json and control.json."""

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
    """Print the JSON Schema of status.json (the status) or control.json (requests)."""
    found = status_schema() if which == "status" else control_schema()
    context.screen.line(msgspec.json.format(msgspec.json.encode(found)).decode())
    return Done(found)
