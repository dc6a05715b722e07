"""Environments: the Python and the libraries that a release runs with, built by uv and shared by name.

    environments/
        3f9c0d1e2a4b5c6d/       one environment, named by a hash of its input; .neverblink.json describes it
        .of/RELEASE -> ../3f…   the environment of a release; RELEASE+check: the environment of its check.
                                RELEASE is `project` for the project's directory itself
        .wheels/                our own worker, packed from this installation
        .new-PID-N-…/           an environment being built; after a crash, the next supervisor removes it

An environment is built under another name and moved into place by one rename, so it is complete or absent. In general
an environment can't be moved, but a relocatable one can: its programs find their interpreter beside themselves, and
Python corrects the paths in compiled files when it loads them. uv links files from its cache, so a second, similar
environment takes little space and time.

Releases with the same requirements share an environment. An environment is removed when no kept release requires it and
no living worker runs in it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from ...protocol.wire import UNDECODABLE
from ..config.config import Config
from ..system.build_environment import build_environment
from ..system.disk import need, sync_directory, sync_filesystem
from ..system.process import started_at
from ..system.subprocess_runner import SubprocessRunner
from .build import BuildFailed, Building
from .requirements import Requirements
from .verification import damage_in
from .wheels import fingerprint

__all__ = ["PROJECT", "Built", "Environments"]

_OF, _WHEELS, _NEW, _OLD = ".of", ".wheels", ".new-", ".old-"
_CHECK = "+check"
PROJECT = "project"
"""In place of a release's id: the project's directory, for `run`, `test`, `shell` and `env`."""
_STAMP = ".neverblink.json"
_ROOM = 128 * 1024 * 1024
"""The expected size of an environment. The true size is not known in advance."""
_NAME = 16
_NOT_OURS = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PYTHON", "UV_SYSTEM_PYTHON")


_OURS = ("NO_COLOR", "PYTHONUNBUFFERED")


class _Stamp(msgspec.Struct, frozen=True):
    version: str
    packages: int
    file: str
    """The file that first required it."""
    made_at: int
    recorded: bool = False
    """Each file had the hash in its RECORD when it was built."""


class Built(_Stamp, frozen=True, kw_only=True):
    """A complete environment. `made_at` is wall ns."""

    name: str
    python: Path
    """Its interpreter."""


class Environments:
    """The environments in `directory`; uv and the programs it starts get the variables `environment`."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory.absolute()
        self._environment = environment
        self._lock = threading.Lock()
        self._count = 0
        self._ours = ""
        self._doubted: set[str] = set()
        self._damaged: dict[str, str] = {}

    def name_of(self, wanted: Requirements, config: Config) -> str:
        """The name of the environment for `wanted`."""
        self._ours = self._ours or fingerprint()
        python = os.path.realpath(shutil.which(config.python) or config.python)
        parts = [wanted.digest, python, self._ours if wanted.worker != "pinned" else ""]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_NAME]

    def get(self, name: str) -> Built | None:
        """The environment of this name, None when it, its Python or a library is missing."""
        if not name:
            return None
        place = self.directory / name
        try:
            stamp = msgspec.json.decode((place / _STAMP).read_bytes(), type=_Stamp)
        except (OSError, *UNDECODABLE):
            return None
        python = place / "bin" / "python"
        if not os.access(python, os.X_OK) or len(_installed_in(place)) < stamp.packages:
            # Its Python or a library was removed: build it again.
            return None
        return Built(name=name, python=python, **msgspec.structs.asdict(stamp))

    def doubt(self) -> None:
        """The machine or the bot crashed: verify each environment before it is used."""
        self._doubted = {entry.name for entry in _entries(self.directory) if not entry.name.startswith(".")}

    def whole(self, name: str) -> Built | None:
        """As `get`, but None also for an environment in doubt with a damaged library. Slow: call it in a thread."""
        built = self.get(name)
        if built is not None and built.recorded and name in self._doubted:
            damage = damage_in(self.directory / name)
            with self._lock:
                if damage:
                    self._damaged[name] = damage
                self._doubted.discard(name)
        return None if name in self._damaged else built

    def damage(self, name: str) -> str:
        """The known damage in the environment of this name, "" for none."""
        return self._damaged.get(name, "")

    async def build(
        self,
        source: Path,
        wanted: Requirements,
        config: Config,
        runner: SubprocessRunner,
        say: Callable[[str], None],
    ) -> Built:
        """Build the environment for the release in `source`; calls `say` with each line of output.

        Raises `BuildFailed`, `RunCancelled` when it was cancelled, and `DiskFull`. Then nothing is left behind.
        """
        name = self.name_of(wanted, config)
        self.directory.mkdir(mode=0o700, exist_ok=True)
        need(self.directory, _ROOM, "an environment")
        place = self._place(name)
        variables = self.variables(None)
        variables = build_environment(variables, (*_OURS, *config.deploy.build_env))
        if name in self._damaged:
            # uv links files from its cache into environments: a file damaged here is damaged in the cache.
            variables["UV_NO_CACHE"] = "1"
        try:
            place.mkdir(mode=0o700)
            building = Building(
                place, source, wanted, config, self.directory / _WHEELS, variables, runner, say
            )
            await building.carry_out()
            return self._settle(building.result, name, wanted.file)
        except OSError as problem:
            raise BuildFailed(f"the environment can't be made: {problem}") from None
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def assign(self, release: str, name: str, *, check: bool = False) -> None:
        """Record that the release, or its check, runs in the environment `name`, which need not exist yet."""
        release += _CHECK if check else ""
        links = self.directory / _OF
        links.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock:
            fresh = links / f".{release}"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(f"../{name}")
            fresh.replace(links / release)

    def of(self, release: str) -> str:
        """The name of the environment that the release runs in, "" for none."""
        try:
            return os.readlink(self.directory / _OF / release).rpartition("/")[2]
        except OSError:
            return ""

    def link(self, release: str, *, check: bool = False) -> Path:
        """The path of the release's environment, or its check's, which stays the same when another one is built."""
        return self.directory / _OF / f"{release}{_CHECK if check else ''}"

    def prune(self, releases: Path, in_use: Collection[str] = ()) -> list[str]:
        """Remove environments of no release in the directory `releases`, except those `in_use`; return their names."""
        gone: list[Path] = []
        with self._lock:
            needed = set(in_use)
            for link in _entries(self.directory / _OF):
                release = link.name.removesuffix(_CHECK)
                if release == PROJECT or (releases / release).is_dir():
                    needed.add(self.of(link.name))
                elif not link.name.startswith("."):
                    link.unlink(missing_ok=True)
            for entry in _entries(self.directory):
                if not entry.name.startswith(".") and entry.name not in needed:
                    # Rename it first, so that nothing is started in a half-removed one.
                    leaving = entry.with_name(f"{_OLD}{entry.name}")
                    entry.rename(leaving)
                    gone.append(leaving)
        for leaving in gone:
            shutil.rmtree(leaving, ignore_errors=True)
        return [leaving.name.removeprefix(_OLD) for leaving in gone]

    def sweep(self) -> None:
        """Remove unfinished builds of killed processes, and wheels of an earlier neverblink."""
        self._ours = self._ours or fingerprint()
        for entry in _entries(self.directory):
            owner = entry.name.removeprefix(_NEW).partition("-")[0]
            mine = entry.name.startswith(_NEW) and owner.isdigit() and started_at(int(owner)) is not None
            if entry.name.startswith((_NEW, _OLD)) and (not mine or int(owner) == os.getpid()):
                shutil.rmtree(entry, ignore_errors=True)
        for entry in _entries(self.directory / _WHEELS):
            if entry.name != self._ours:
                shutil.rmtree(entry, ignore_errors=True)

    def variables(self, place: Path | None) -> dict[str, str]:
        """The variables of a program that runs in the environment at `place`, or in none."""
        seen = {name: value for name, value in self._environment.items() if name not in _NOT_OURS}
        if place is not None:
            seen["VIRTUAL_ENV"] = str(place)
            seen["PATH"] = f"{place / 'bin'}{os.pathsep}{seen.get('PATH', os.defpath)}"
        return {**seen, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}

    def _place(self, name: str) -> Path:
        # The path contains the environment's name: uv identifies a library in a directory by its path.
        with self._lock:
            self._count += 1
            return self.directory / f"{_NEW}{os.getpid()}-{self._count}-{name}"

    def _settle(self, built: Path, name: str, file: str) -> Built:
        recorded = not damage_in(built)
        stamp = _Stamp(_version_of(built), len(_installed_in(built)), file, time.time_ns(), recorded)
        (built / _STAMP).write_bytes(msgspec.json.encode(stamp) + b"\n")
        # It has thousands of files. Its final name means that it is complete.
        sync_filesystem(built)
        with self._lock:
            there = self.get(name) if name not in self._damaged else None
            if there is None:
                # The existing one is damaged.
                shutil.rmtree(self.directory / name, ignore_errors=True)
                built.rename(self.directory / name)
                sync_directory(self.directory)
                self._damaged.pop(name, None)
        found = there or self.get(name)
        if found is None:
            raise BuildFailed(f"the environment has no Python that can be run: {self.directory / name}")
        return found


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _installed_in(environment: Path) -> list[str]:
    """The distributions in an environment, as NAME-VERSION.dist-info."""
    return [path.name for path in environment.glob("lib/python*/site-packages/*.dist-info")]


def _version_of(environment: Path) -> str:
    """The version of an environment's Python."""
    for line in (environment / "pyvenv.cfg").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version_info", "version"):
            return value.strip()
    return "?"
