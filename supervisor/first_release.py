"""The first release: what a bot is begun with, when no worker of it is alive.

It is the code in the project, unless what led last came by a push: then the project's directory is not what the bot is
to run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

from ..protocol.errors import NeverblinkError
from .config import Config, load
from .prepare import Preparer
from .releases import Release, Releases
from .starter import StartFailed

__all__ = ["FirstRelease"]


class FirstRelease:
    """Chooses and prepares the release to begin with. `stopping()`: the bot is being stopped already."""

    def __init__(
        self,
        config: Config,
        releases: Releases,
        preparer: Preparer,
        say: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._config = config
        self._releases = releases
        self._preparer = preparer
        self._say = say
        self._stopping = stopping

    async def choose(self) -> tuple[Release, Config]:
        """The release, and how it is run. Raises `StartFailed`, `ConfigError`, and what `Releases.make` raises."""
        source = self._config.directory
        pushed = self._pushed(source)
        if pushed is not None:
            self._say(
                f"going on with the commit that led last: {pushed.ref} {pushed.commit[:8]} "
                f"({pushed.subject}). For the code in {source}: `neverblink deploy {quote(str(source))}`"
            )
            config = await asyncio.to_thread(load, pushed.path, Path(pushed.origin))
            return pushed, await self._prepared(pushed, config)
        release = await asyncio.to_thread(self._releases.make, source, self._config.bot, warn=self._say)
        before = self._releases.current()
        self._releases.promote(release.id)
        if before is not None and self._digest(before) != release.digest:
            self._say(f"the code in {source} is not what led last: that was release {before}")
        config = await asyncio.to_thread(load, release.path, source)
        return release, await self._prepared(release, config)

    async def _prepared(self, release: Release, config: Config) -> Config:
        """How the first release is run: in its environment, which may have to be built now. It is not checked."""
        ready = await asyncio.to_thread(self._preparer.ready, release.id, release.path, config, check=False)
        if ready is not None:
            return ready
        self._say("building the environment")
        try:
            voice = _Spoken(self._say)
            return await self._preparer.prepare(release.id, release.path, config, voice, check=False)
        except NeverblinkError as problem:
            if self._stopping():
                return config
            raise StartFailed(self._config.name, problem.message, "") from None

    def _pushed(self, project: Path) -> Release | None:
        """What led last, when it came by a push: then the project's directory is not what the bot is to run."""
        current = self._releases.current()
        try:
            release = self._releases.get(current) if current else None
        except NeverblinkError:
            return None
        if release is None or not release.commit or project.is_relative_to(release.origin):
            return None
        return release

    def _digest(self, release: str) -> str:
        try:
            return self._releases.get(release).digest
        except NeverblinkError:
            return ""


class _Spoken:
    """A voice that says everything on the screen."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def line(self, step: str, text: str) -> None:
        self._say(f"{step}: {text}")

    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None:
        self._say(f"{step}: {text}")
