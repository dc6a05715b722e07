"""Prepares a release for a worker: builds its environment, then runs its check.

In most deployments both are done already; `ready` determines that without running anything. Otherwise `prepare` does
the work, and passes each line and each step to a `PrepareOutput`. The result is the configuration to run the release
with, in which `python` is the environment's interpreter. `Interpreters` adds the choice of `deploy --python`.
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
from ..config.config import NO_ENVIRONMENT, Config, load, secret_files
from ..release.releases import Release, ReleaseStore
from ..store.history_thread import HistoryThread
from ..system.format import last
from ..system.hidden_files import HiddenFiles
from ..system.process import describe_exit
from ..system.subprocess_runner import RunCancelled, SubprocessRunner
from .environments import Built, Environments
from .requirements import Requirements, wanted

__all__ = ["CheckFailed", "Interpreters", "PrepareOutput", "Preparer"]

_STILL_GOOD = 10 * 60 * 1_000_000_000
"""For this long after a successful check, a deployment of the same release does not run it again."""


class CheckFailed(NeverblinkError):
    """The check of a release failed."""


class PrepareOutput(Protocol):
    """Receives each line that a step prints, and each step when it is done (`took` in ns)."""

    def line(self, step: str, text: str) -> None: ...
    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None: ...


class Preparer:
    """Prepares releases. Environments are in `directory`, where the file `note` names running programs.

    `environment` are the variables of programs. `leader()` is the pid whose core they avoid, 0 for none. `now()`
    returns monotonic ns. Programs cannot open the `hidden` files or secret files of the configuration.
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
        """Releases with a successful check that were not deployed since: the check, and when it ran."""
        self.environments = Environments(directory, environment)
        self._runner = SubprocessRunner(directory / note, leader, self._hidden)

    def arrive(self) -> str:
        """End builds and remove unfinished environments of a killed supervisor; return a line on what was ended."""
        ended = self._runner.end_left()
        self.environments.sweep()
        return ended

    def doubt(self) -> None:
        """Files may be damaged: verify each environment once, before it is used."""
        self.environments.doubt()

    def damage(self, release: str) -> str:
        """The damage for which the release's environment has to be built again, "" for none."""
        return self.environments.damage(self.environments.of(release))

    def ready(self, release: str, directory: Path, config: Config, *, check: bool = True) -> Config | None:
        """The configuration to run the release in `directory` with, None when it needs a build or a check first.

        `release` is its id, "" for a plain directory. Raises `ConfigError`.
        """
        if check and config.deploy.check:
            return None
        requirements = wanted(directory, config)
        if requirements is None:
            return config
        name = self.environments.name_of(requirements, config)
        if release:
            self.environments.assign(release, name)
        built = self.environments.whole(name)
        return None if built is None else msgspec.structs.replace(config, python=str(built.python))

    def as_assigned(self, release: str, config: Config) -> Config:
        """The configuration to run a release with that has run before: in its environment, if that exists."""
        if config.environment == NO_ENVIRONMENT:
            return config
        built = self.environments.get(self.environments.of(release))
        return msgspec.structs.replace(config, python=str(built.python)) if built is not None else config

    async def prepare(
        self, release: str, directory: Path, config: Config, output: PrepareOutput, *, check: bool = True
    ) -> Config:
        """Build and check the release; return the configuration to run it with.

        A check that has just succeeded for a rehearsal of this release is not run again: a gated push is rehearsed and
        then deployed.

        Raises `BuildFailed`, `CheckFailed`, `RunCancelled` when it was cancelled, `DiskFull` and `ConfigError`.
        """
        self._runner.open()
        self._hidden.add(secret_files(config))
        project = config
        place: Path | None = None
        requirements = await asyncio.to_thread(wanted, directory, config)
        if requirements is not None:
            built = await self._environment(release, directory, requirements, config, output)
            place = built.python.parent.parent
            config = msgspec.structs.replace(config, python=str(built.python))
        if check and config.deploy.check:
            what = (config.deploy.check, config.python)
            passed, at = self._passed.pop(release, (("", ""), 0))
            since = self._now() - at
            if passed == what and since < _STILL_GOOD:
                text = f"{config.deploy.check}: not run again, it succeeded in this release {last(since)} ago"
                output.step("check", text, 0, {"skipped": True})
            else:
                tools = await self._tools(release, directory, requirements, project, output)
                await self._check(directory, config, tools or place, output)
                if release:
                    self._passed[release] = (what, self._now())
        return config

    async def prepare_tools(
        self, release: str, directory: Path, config: Config, output: PrepareOutput
    ) -> Config:
        """Build the environment for tests: that of the bot with development tools. Runs no check.

        Returns the configuration with its interpreter. Raises as `prepare`.
        """
        ready = await self.prepare(release, directory, config, output, check=False)
        requirements = await asyncio.to_thread(wanted, directory, config)
        place = await self._tools(release, directory, requirements, config, output)
        return (
            ready if place is None else msgspec.structs.replace(config, python=str(place / "bin" / "python"))
        )

    async def _tools(
        self,
        release: str,
        directory: Path,
        requirements: Requirements | None,
        config: Config,
        output: PrepareOutput,
    ) -> Path | None:
        """The environment with development tools, which the bot itself does not need; None if it is the bot's own."""
        tools = await asyncio.to_thread(wanted, directory, config, development=True)
        if tools is None or tools == requirements:
            return None
        built = await self._environment(release, directory, tools, config, output, check=True)
        return built.python.parent.parent

    async def _environment(
        self,
        release: str,
        directory: Path,
        requirements: Requirements,
        config: Config,
        output: PrepareOutput,
        *,
        check: bool = False,
    ) -> Built:
        """The required environment, built if it does not exist."""
        name = await asyncio.to_thread(self.environments.name_of, requirements, config)
        if release:
            self.environments.assign(release, name, check=check)
        built = await asyncio.to_thread(self.environments.whole, name)
        begun = time.monotonic_ns()
        new = built is None
        if built is None:
            try:
                built = await self.environments.build(
                    directory,
                    requirements,
                    config,
                    self._runner,
                    lambda line: output.line("environment", line),
                )
            except RunCancelled as cut:
                raise RunCancelled(f"the environment was not built: {cut.message}") from None
        how = "built" if new else "was there"
        what = f"{built.name} {how}{' for the check' if check else ''}"
        text = f"{what}: Python {built.version}, {built.packages} packages by {requirements.file}"
        facts = {"name": built.name, "python": built.version, "packages": built.packages, "new": new}
        output.step("environment", text, time.monotonic_ns() - begun if new else 0, facts)
        return built

    def cancel(self, why: str) -> None:
        """End the program that runs now."""
        self._runner.cancel(why)

    def prune(self, releases: Path, pids: Collection[int]) -> None:
        """Remove environments that no kept release requires and none of these processes runs in. Raises `OSError`."""
        self.environments.prune(releases, {self._runs_in(pid) for pid in pids})
        self._passed = {id: check for id, check in self._passed.items() if (releases / id).is_dir()}

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


class Interpreters:
    """How each release is run: its configuration with the interpreter that it has.

    That is the interpreter named by `deploy --python`, for as long as the release is kept; otherwise the one of the
    environment it was given; otherwise the one in its configuration.
    """

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
        """The configuration with the interpreter that `deploy --python` named for the release, if any."""
        python = await self._history_thread.recall(_key(release.id), str)
        return _on(python, config) if python else config

    def choose(self, release: Release, config: Config, python: str) -> Config:
        """Run the new release on this interpreter from now on; "": on that of its configuration."""
        if not python:
            # The same code deployed twice within a second is the same release: drop an earlier choice.
            self._history_thread.write(lambda history: history.drop(_key(release.id)))
            return config
        self._history_thread.write(lambda history: history.keep(_key(release.id), python))
        return _on(python, config)


def _on(python: str, config: Config) -> Config:
    """The configuration with another interpreter, used without an environment."""
    return msgspec.structs.replace(config, python=python, environment=NO_ENVIRONMENT)


def _key(release: str) -> str:
    return f"python of {release}"
