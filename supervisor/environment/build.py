"""Building one environment with uv: the Python, what the release asks for, and the worker that speaks our protocol.

Each step is a run of uv. Its output is passed on, and errors are in its own words. It gets a copy of the relevant
files, never the release itself, because it writes beside its input. Only the settings of the release and the user
apply.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...protocol.errors import NeverblinkError
from ..config.config import Config
from ..release.copy_tree import copy_tree
from ..system.interpreter import InterpreterError, find_interpreter
from ..system.process import describe_exit
from ..system.subprocess_runner import SubprocessRunner
from .requirements import Requirements
from .wheels import DISTRIBUTION, supply

__all__ = ["BuildFailed", "Building"]

_WORDS = 600
_KEPT_LINES = 60
_NOISE = ("Activate with", "Creating virtual environment at", "Using Python")
"""Lines of uv that are advice for environments made by hand."""
_SETTINGS = re.compile(r"^\[+\s*tool\s*\.\s*uv\b", re.MULTILINE)


class BuildFailed(NeverblinkError):
    """The environment could not be built; the message ends with uv's own words."""


class Building:
    """Builds the environment `wanted` for the release in `source`, in the directory `place`.

    `wheels` is the directory of our own wheels, `variables` are the environment variables of uv.
    """

    def __init__(
        self,
        place: Path,
        source: Path,
        wanted: Requirements,
        config: Config,
        wheels: Path,
        variables: Mapping[str, str],
        runner: SubprocessRunner,
        say: Callable[[str], None],
    ) -> None:
        self._place = place
        self._project = place / "project"
        self.result = place / "environment"
        self._source = source
        self._wanted = wanted
        self._config = config
        self._runner = runner
        self._say = say
        self._wheels = wheels
        self._variables = {**variables, "UV_NO_PROGRESS": "1", "UV_COMPILE_BYTECODE": "1"}
        self._uv = _uv()
        self._until = time.monotonic_ns() + config.deploy.build_within

    async def carry_out(self) -> None:
        """Build it. Raises `BuildFailed`, `RunCancelled` when it was cancelled or took too long, and `OSError`."""
        self._lay_out()
        await self._make()
        wanted = self._wanted
        worker: list[str] = []
        if wanted.worker == "named":
            ours = supply(self._wheels)
            overrides = self._place / "overrides.txt"
            overrides.write_text(f"{DISTRIBUTION} @ {ours.wheel.as_uri()}\n")
            worker = ["--overrides", str(overrides), "--find-links", str(ours.directory)]
        match wanted.kind:
            case "lock":
                # By default uv installs the group `dev`.
                groups = [word for group in wanted.groups for word in ("--group", group)]
                sync = ("sync", "--locked", "--no-install-project", "--no-editable", "--no-default-groups")
                await self._run_uv(*sync, *groups)
            case "project":
                groups = [word for group in wanted.groups for word in ("--group", group)]
                await self._install("--requirements", "pyproject.toml", *groups, *worker)
            case "requirements":
                await self._install("--requirements", wanted.file, *worker)
        if not any(self.result.glob(f"lib/python*/site-packages/{DISTRIBUTION}-*.dist-info")):
            await self._add_worker()

    def _lay_out(self) -> None:
        """Copy the files that uv needs: it writes beside its input, and a release is immutable."""
        if self._wanted.tree:
            copy_tree(self._source, self._project)
            for directory, _, _ in os.walk(self._project):
                os.chmod(directory, 0o700)
        else:
            self._project.mkdir()
            for file in self._wanted.files:
                (self._project / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._source / file, self._project / file)
        own, shared = self._project / "uv.toml", self._project / "pyproject.toml"
        if not own.exists() and not (
            shared.exists() and _SETTINGS.search(shared.read_text(errors="replace"))
        ):
            # Otherwise uv searches the directories above, where the project may have changed.
            own.write_text("")

    async def _make(self) -> None:
        wanted = self._wanted
        try:
            python = find_interpreter(self._config.python, self._variables)
        except InterpreterError as problem:
            if not wanted.python:
                raise BuildFailed(problem.message) from None
            python = self._config.python
        also: dict[str, str] = {}
        if wanted.python and not await self._satisfies(python):
            # Any interpreter on this machine, or else uv downloads one.
            also["PATH"] = f"{Path(python).parent}{os.pathsep}{self._variables.get('PATH', os.defpath)}"
            also["UV_PYTHON_PREFERENCE"] = "system"
            python = wanted.python
        words = ("venv", "--relocatable", "--no-project", "--python", python, str(self.result))
        await self._run(words, self._say, also)

    async def _satisfies(self, python: str) -> bool:
        """Whether the configured interpreter is a Python that the release accepts.

        uv decides. It searches a directory with only this one, because it prefers others to those of virtual
        environments.
        """
        alone = self._place / "interpreter"
        alone.mkdir()
        link = alone / "python3"
        link.symlink_to(python)
        also = {"PATH": str(alone), "UV_PYTHON_PREFERENCE": "only-system"}
        found: list[str] = []
        code = await self._runner.run(
            (self._uv, "python", "find", "--no-project", "--system", self._wanted.python),
            cwd=self._project,
            environment={**self._variables, **also},
            within=self._left(),
            say=found.append,
        )
        # A path in `.python-version` names another interpreter, which uv finds all the same.
        return code == 0 and str(link) in found

    async def _add_worker(self) -> None:
        ours = supply(self._wheels)
        held: list[str] = []
        try:
            words = ("--no-index", "--find-links", str(ours.directory), str(ours.wheel))
            await self._install(*words, say=held.append)
        except BuildFailed:
            # Another Python than ours: the worker's dependencies must come from an index.
            await self._install("--find-links", str(ours.directory), str(ours.wheel))
        else:
            for line in held:
                self._say(line)

    async def _install(self, *words: str, say: Callable[[str], None] | None = None) -> None:
        into = ("pip", "install", "--no-editable", "--python", str(self.result / "bin" / "python"))
        await self._run((*into, *words), say or self._say)

    async def _run_uv(self, subcommand: str, *words: str) -> None:
        python = ("--python", str(self.result / "bin" / "python"))
        await self._run(
            (subcommand, *python, *words), self._say, {"UV_PROJECT_ENVIRONMENT": str(self.result)}
        )

    async def _run(
        self, words: Sequence[str], say: Callable[[str], None], also: Mapping[str, str] | None = None
    ) -> None:
        lines: list[str] = []

        def on_line(line: str) -> None:
            # The directory of the build is temporary.
            line = line.replace(f"{self._project}/", "").replace(str(self._place), "…")
            lines.append(line)
            del lines[:-_KEPT_LINES]
            if not line.startswith(_NOISE):
                say(line)

        environment = {**self._variables, **(also or {})}
        code = await self._runner.run(
            (self._uv, *words), cwd=self._project, environment=environment, within=self._left(), say=on_line
        )
        if code:
            raise BuildFailed(
                f"the environment could not be built ({self._wanted.file}): {_words(lines, code)}"
            )

    def _left(self) -> int:
        """How long the build may still take, in nanoseconds."""
        return max(1, self._until - time.monotonic_ns())


def _words(lines: list[str], code: int) -> str:
    """The last error in uv's output, as one line."""
    if code < 0:
        return f"uv was {describe_exit(code)}"
    begins = next(
        (at for at, line in enumerate(lines) if line.lstrip().startswith(("×", "error:", "Caused by"))), None
    )
    errors = lines[begins:] if begins is not None else lines[-3:]
    text = " ".join(" ".join(line.strip(" ×╰─▶│├") for line in errors).split())
    if not text:
        return f"uv ended with exit {code}"
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"


def _uv() -> str:
    """The program of the package uv."""
    try:
        return str(importlib.import_module("uv").find_uv_bin())
    except ImportError:
        raise BuildFailed(
            'there is no uv here, which builds environments: install neverblink with "neverblink[supervisor]", or say '
            'environment = "none" in neverblink.toml'
        ) from None
    except FileNotFoundError as problem:
        raise BuildFailed(f"uv is not where it was installed: {problem}") from None
