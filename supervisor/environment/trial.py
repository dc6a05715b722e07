"""A trial of a project's code before the last worker that has the bot's state is ended for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.wire import UNDECODABLE
from ..config import load
from ..prepare import Preparer, Voice

__all__ = ["try_project"]


async def try_project(
    directory: Path, preparer: Preparer, environment: Mapping[str, str], voice: Voice
) -> None:
    """Build the environment of the project in `directory`, run its check, and import its bot.

    Raises `NeverblinkError` when one of these fails. What was built is used when the bot is started.
    """
    config = await preparer.prepare("", directory, load(directory), voice)
    try:
        process = await asyncio.create_subprocess_exec(
            *(config.python, "-m", "neverblink.worker", "--check", config.bot),
            cwd=directory,
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as problem:
        raise NeverblinkError(f"{config.python} cannot be run: {problem.strerror}") from None
    within = config.handoff.start_within / 1e9
    try:
        out, err = await asyncio.wait_for(process.communicate(), within)
    except TimeoutError:
        raise NeverblinkError(f"importing {config.bot} takes longer than {within:g}s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        said = msgspec.json.decode(_last_line(out), type=dict[str, Any])
    except UNDECODABLE:
        said = {"problem": _last_line(err).decode(errors="replace")}
    if not said.get("ok"):
        raise NeverblinkError(str(said.get("problem") or f"{config.bot} cannot be imported"))


def _last_line(text: bytes) -> bytes:
    return next((line for line in reversed(text.splitlines()) if line.strip()), os.linesep.encode())
