"""The project's own environment, for the commands that run its code here: the one that a deployment would build.

It is built once and shared with the releases that have the same requirements.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from ..config.config import Config
from ..environment.environments import PROJECT, Environments
from ..environment.prepare import Preparer
from ..sockets.client_keys import client_keys
from ..store.state_dir import Home
from ..system.hidden_files import HiddenFiles
from ..system.interpreter import find_interpreter
from ..terminal.screen import Screen
from .context import CommandContext
from .exit_codes import BadInput

__all__ = ["ProjectEnvironment", "ready_environment"]


class ProjectEnvironment:
    """A project whose environment is ready. `config.python` is the interpreter."""

    def __init__(self, config: Config, home: Home, environments: Environments, *, tools: bool) -> None:
        self.config = config
        self.home = home
        self._environments = environments
        self._tools = tools

    @property
    def place(self) -> Path | None:
        """The environment's directory, None when the configured interpreter is used as it is."""
        python = Path(self.config.python)
        return python.parent.parent if python.is_relative_to(self.home.environments) else None

    @property
    def data(self) -> Path:
        """The bot's data directory."""
        return self.config.data or self.home.data

    def interpreter(self) -> str:
        """The interpreter's path. Raises `InterpreterError`."""
        return find_interpreter(self.config.python, self.variables())

    def stable_interpreter(self) -> str:
        """A path of the interpreter that stays the same when the requirements change, for an editor."""
        if self.place is None:
            return self.interpreter()
        links = [
            self._environments.link(PROJECT, check=check)
            for check in ((True, False) if self._tools else (False,))
        ]
        link = next((link for link in links if link.is_dir()), self.place)
        return str(link / "bin" / "python")

    def variables(self) -> dict[str, str]:
        """The variables of a program that runs in the environment, without those of `env_file`."""
        return self._environments.variables(self.place)


def ready_environment(context: CommandContext, *, tools: bool = False) -> ProjectEnvironment:
    """Build the project's environment if it is missing, and show what is built on stderr.

    `tools`: with the development dependencies, as a deployment's check has them. Raises what a build raises.
    """
    config = context.config
    home = Home.open(context.home.path)
    owner = home.path.stat().st_uid
    if owner != os.geteuid():
        raise BadInput(f"home {home.path} belongs to user {owner}: run this command as that user")
    private = (*home.private, *client_keys(context.environment))
    screen = Screen(sys.stderr)

    def report(problem: str) -> None:
        screen.line(screen.warn(problem))

    preparer = Preparer(
        home.environments,
        context.environment,
        note=f".running-{os.getpid()}",
        hidden=HiddenFiles(private, report),
    )
    prepare = preparer.prepare_tools if tools else _prepare_without_check(preparer)
    ready = asyncio.run(prepare(PROJECT, config.directory, config, _BuildLines(screen)))
    return ProjectEnvironment(ready, home, preparer.environments, tools=tools)


def _prepare_without_check(preparer: Preparer) -> Any:
    async def prepare(release: str, directory: Path, config: Config, output: _BuildLines) -> Config:
        return await preparer.prepare(release, directory, config, output, check=False)

    return prepare


class _BuildLines:
    """Shows what a build prints; nothing when the environment was there."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def line(self, step: str, text: str) -> None:
        self._screen.line(f"  {self._screen.faint(text)}")

    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None:
        if facts.get("new"):
            self._screen.line(self._screen.faint(text))
