"""What the shell can complete besides verbs and options: the releases there are."""

from __future__ import annotations

import io
import os
from pathlib import Path

import click

from ...protocol.errors import NeverblinkError
from ..release.releases import ReleaseStore
from ..terminal.screen import Screen
from .context import CommandContext

__all__ = ["complete_release"]


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
