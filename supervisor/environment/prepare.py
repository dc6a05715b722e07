"""Prepares a release for a worker: builds the environment that it asks for, then runs the check.

Most deployments find both done: `ready` finds that out without running anything. Otherwise `prepare` does the work, and
passes each line and each step to a `PrepareOutput`. The result is the configuration to run the release with, in which
`python` is the environment's interpreter.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ...protocol.errors import NeverblinkError
from ..config.config import NO_ENVIRONMENT, Config, secret_files
from ..system.format import last
from ..system.hidden_files import HiddenFiles
from ..system.process import describe_exit
from ..system.subprocess_runner import RunCancelled, SubprocessRunner
from .environments import Built, Environments
from .requirements import Requirements, wanted

__all__ = ["CheckFailed", "PrepareOutput", "Preparer"]

_STILL_GOOD = 10 * 60 * 1_000_000_000
"""For so long after a check has succeeded the deployment of that very release need not run it again."""


class CheckFailed(NeverblinkError):
    """The check of a release did not succeed."""


class PrepareOutput(Protocol):
    """Gets each line that a step prints, and each step when it is done (`took` in ns)."""

    def line(self, step: str, text: str) -> None: ...
    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None: ...


class Preparer:
    """Prepares releases: environments are made in `directory`, where `note` says what runs.

    `environment` are the variables that programs see; `leader()` is the pid to keep out of the way of, or 0; `now()`
    tells ns that only grow. Programs cannot open the `hidden` files, nor those of the configuration that are secret.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        leader: Callable[[], int] = lambda: 0,
        note: str = ".running",
        now: Callable[[], int] = time.monotonic_ns,
        hidden: HiddenFiles | None = None,
    ) -> None:
        self._hidden = hidden or HiddenFiles()
        self._now = now
        self._passed: dict[str, tuple[tuple[str, str], int]] = {}
        """The releases whose check has succeeded and that were not deployed since: what was run, and when."""
        self.environments = Environments(directory, environment)
        self._runner = SubprocessRunner(directory / note, leader, self._hidden)

    def arrive(self) -> str:
        """Clear away what a killed supervisor left: a build that runs, half an environment. Returns what was ended."""
        ended = self._runner.end_left()
        self.environments.sweep()
        return ended

    def doubt(self) -> None:
        """What is on the disk may be damaged: verify each environment once, before it is used."""
        self.environments.doubt()

    def damage(self, release: str) -> str:
        """Why the environment of the release has to be built again, "" when it is not for a damage."""
        return self.environments.damage(self.environments.of(release))

    def ready(self, release: str, directory: Path, config: Config, *, check: bool = True) -> Config | None:
        """The configuration to run the release in `directory` with, None when something has to be done first.

        `release` is its id, "" for a directory that is none. Raises `ConfigError`.
        """
        if check and config.deploy.check:
            return None
        asked = wanted(directory, config)
        if asked is None:
            return config
        name = self.environments.name_of(asked, config)
        if release:
            self.environments.assign(release, name)
        built = self.environments.whole(name)
        return None if built is None else msgspec.structs.replace(config, python=str(built.python))

    def as_assigned(self, release: str, config: Config) -> Config:
        """The configuration to run a release with that has run already: in the environment it had, if that is there."""
        if config.environment == NO_ENVIRONMENT:
            return config
        built = self.environments.get(self.environments.of(release))
        return msgspec.structs.replace(config, python=str(built.python)) if built is not None else config

    async def prepare(
        self, release: str, directory: Path, config: Config, output: PrepareOutput, *, check: bool = True
    ) -> Config:
        """Do what has to be done, and return the configuration to run the release with.

        A check that has succeeded in this release a moment ago, for a rehearsal, is not run once more: a gated push
        is rehearsed and then deployed.

        Raises `BuildFailed`, `CheckFailed`, `RunCancelled` when it was cancelled, `DiskFull` and `ConfigError`.
        """
        self._runner.open()
        self._hidden.add(secret_files(config))
        project = config
        place: Path | None = None
        asked = await asyncio.to_thread(wanted, directory, config)
        if asked is not None:
            built = await self._environment(release, directory, asked, config, output)
            place = built.python.parent.parent
            config = msgspec.structs.replace(config, python=str(built.python))
        if check and config.deploy.check:
            what = (config.deploy.check, config.python)
            passed, at = self._passed.pop(release, (("", ""), 0))
            since = self._now() - at
            if passed == what and since < _STILL_GOOD:
                told = f"{config.deploy.check}: not run again, it succeeded in this release {last(since)} ago"
                output.step("check", told, 0, {"skipped": True})
            else:
                # With the tools that the bot itself has no use for.
                tools = await asyncio.to_thread(wanted, directory, project, development=True)
                if tools is not None and tools != asked:
                    built = await self._environment(release, directory, tools, project, output, check=True)
                    place = built.python.parent.parent
                await self._check(directory, config, place, output)
                if release:
                    self._passed[release] = (what, self._now())
        return config

    async def _environment(
        self,
        release: str,
        directory: Path,
        asked: Requirements,
        config: Config,
        output: PrepareOutput,
        *,
        check: bool = False,
    ) -> Built:
        """The environment that is asked for, built where it is not there."""
        name = await asyncio.to_thread(self.environments.name_of, asked, config)
        if release:
            self.environments.assign(release, name, check=check)
        built = await asyncio.to_thread(self.environments.whole, name)
        begun = time.monotonic_ns()
        new = built is None
        if built is None:
            try:
                built = await self.environments.build(
                    directory, asked, config, self._runner, lambda line: output.line("environment", line)
                )
            except RunCancelled as cut:
                raise RunCancelled(f"the environment was not built: {cut.message}") from None
        how = "built" if new else "was there"
        what = f"{built.name} {how}{' for the check' if check else ''}"
        text = f"{what}: Python {built.version}, {built.packages} packages by {asked.file}"
        facts = {"name": built.name, "python": built.version, "packages": built.packages, "new": new}
        output.step("environment", text, time.monotonic_ns() - begun if new else 0, facts)
        return built

    def cancel(self, why: str) -> None:
        """End what runs."""
        self._runner.cancel(why)

    def prune(self, releases: Path, pids: Collection[int]) -> None:
        """Remove environments that no kept release asks for and none of these processes runs in. Raises `OSError`."""
        self.environments.prune(releases, {self._runs_in(pid) for pid in pids})
        self._passed = {id: one for id, one in self._passed.items() if (releases / id).is_dir()}

    def _runs_in(self, pid: int) -> str:
        try:
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            return Path(program).relative_to(self.environments.directory).parts[0]
        except (OSError, ValueError, IndexError):
            return ""

    async def _check(
        self, directory: Path, config: Config, place: Path | None, output: PrepareOutput
    ) -> None:
        command_line = config.deploy.check
        variables = self.environments.variables(place)
        if place is None:
            beside = os.path.dirname(shutil.which(config.python, path=variables.get("PATH")) or config.python)
            variables["PATH"] = f"{beside}{os.pathsep}{variables.get('PATH', os.defpath)}"
        begun = time.monotonic_ns()
        final = ""

        def on_line(line: str) -> None:
            nonlocal final
            final = line
            output.line("check", line)

        command = shlex.split(command_line)
        program = shutil.which(command[0], path=variables["PATH"]) if "/" not in command[0] else command[0]
        if program is None:
            raise CheckFailed(f'check "{command_line}": there is no {command[0]} in its environment')
        try:
            code = await self._runner.run(
                [program, *command[1:]],
                cwd=directory,
                environment=variables,
                within=config.deploy.check_within,
                say=on_line,
            )
        except RunCancelled as cut:
            raise RunCancelled(f'check "{command_line}": {cut.message}') from None
        if code:
            raise CheckFailed(
                f'check "{command_line}" failed ({describe_exit(code)}){f": {final}" if final else ""}'
            )
        output.step("check", command_line, time.monotonic_ns() - begun, {})
