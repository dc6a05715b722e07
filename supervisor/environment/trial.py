"""Tries a project's code before the last worker that has the bot's state is ended for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from ..config.config import load
from .import_check import check_import
from .prepare import PrepareOutput, Preparer

__all__ = ["try_project"]


async def try_project(
    directory: Path, preparer: Preparer, environment: Mapping[str, str], output: PrepareOutput
) -> None:
    """Build the environment of the project in `directory`, run its check, and import its bot.

    Raises `NeverblinkError` when one of these fails. What was built is used when the bot is started.
    """
    config = await preparer.prepare("", directory, load(directory), output)
    await asyncio.to_thread(check_import, config, environment)
