"""How each release is run: its configuration with the interpreter that it has.

The interpreter is the one that `deploy --python` named, for as long as the release is kept; else that of the
environment it was given; else the one in its configuration.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from ..config.config import NO_ENVIRONMENT, Config, load
from ..release.releases import Release, ReleaseStore
from ..store.history_thread import HistoryThread
from .prepare import Preparer

__all__ = ["Interpreters"]


class Interpreters:
    """Finds out how releases are run."""

    def __init__(self, releases: ReleaseStore, history_thread: HistoryThread, preparer: Preparer) -> None:
        self._releases = releases
        self._history_thread = history_thread
        self._preparer = preparer

    async def of(self, id: str) -> tuple[Release, Config]:
        """The release, and how it is run, in the environment it has. Raises `ReleaseError` and `ConfigError`."""
        release = await asyncio.to_thread(self._releases.get, id)
        config = await self.config_of(release)
        return release, self._preparer.as_assigned(id, config)

    async def config_of(self, release: Release) -> Config:
        """How the release is to be run, but for its environment. Raises `ConfigError`."""
        return await self.as_before(
            release, await asyncio.to_thread(load, release.path, Path(release.origin))
        )

    async def as_before(self, release: Release, config: Config) -> Config:
        """The configuration with the interpreter that the release was deployed with, if that was another."""
        python = await self._history_thread.recall(_key(release.id), str)
        return _on(python, config) if python else config

    def choose(self, release: Release, config: Config, python: str) -> Config:
        """The release is new, and is run on this interpreter from now on; "": on that of its configuration."""
        if not python:
            # The same code, deployed twice in a second, is the same release.
            self._history_thread.write(lambda history: history.drop(_key(release.id)))
            return config
        self._history_thread.write(lambda history: history.keep(_key(release.id), python))
        return _on(python, config)


def _on(python: str, config: Config) -> Config:
    """The configuration with another interpreter, which is taken as it is."""
    return msgspec.structs.replace(config, python=python, environment=NO_ENVIRONMENT)


def _key(release: str) -> str:
    return f"python of {release}"
