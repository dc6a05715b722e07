"""Environments: the Python and the libraries that a release runs with, built by uv and shared by name.

    environments/
        3f9c0d1e2a4b5c6d/       one environment, named by a hash of what went in; .neverblink.json says what that was
        .of/RELEASE -> ../3f…   which release runs in which; RELEASE+check: where its check runs
        .wheels/                our own worker, packed from this installation
        .new-PID-N-…/           one that is being built; left behind only by a crash, and then swept away

An environment is built under another name and moved into place by one rename, so it is whole or not there. Environments
can't be moved in general; a relocatable one can: its programs find their interpreter beside themselves, and Python
corrects the paths in compiled files when it loads them. uv links its files from its cache, so a second one that is much
like the first costs little room and little time.

A release that asks for the same as another shares its environment. One that no release which is kept asks for, and no
live worker runs in, is removed.
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
from ..system.disk_space import need
from ..system.durable import sync_directory, sync_filesystem
from ..system.process import started_at
from ..system.subprocess_runner import SubprocessRunner
from .build import BuildFailed, Building, installed_in, version_of
from .requirements import Requirements
from .verification import damage_in
from .wheels import fingerprint

__all__ = ["Built", "Environments"]

_OF, _WHEELS, _NEW, _OLD = ".of", ".wheels", ".new-", ".old-"
_CHECK = "+check"
_STAMP = ".neverblink.json"
_ROOM = 128 * 1024 * 1024
"""What an environment is expected to need; the true size is not known before."""
_NAME = 16
_NOT_OURS = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PYTHON", "UV_SYSTEM_PYTHON")


_OURS = ("NO_COLOR", "PYTHONUNBUFFERED")


class Built(msgspec.Struct, frozen=True):
    """An environment that is complete. `made_at` is wall ns."""

    name: str
    python: Path
    """Its interpreter."""
    version: str
    packages: int
    file: str
    """What asked for it first."""
    made_at: int
    recorded: bool = False
    """Each file had the hash of its RECORD when it was built."""


class _Stamp(msgspec.Struct, frozen=True):
    version: str
    packages: int
    file: str
    made_at: int
    recorded: bool = False


class Environments:
    """The environments in `directory`; `environment` is what uv and the programs it starts see."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory.absolute()
        self._environment = environment
        self._lock = threading.Lock()
        self._count = 0
        self._ours = ""
        self._doubted: set[str] = set()
        self._damaged: dict[str, str] = {}

    def name_of(self, wanted: Requirements, config: Config) -> str:
        """What the environment is called that `wanted` asks for."""
        self._ours = self._ours or fingerprint()
        python = os.path.realpath(shutil.which(config.python) or config.python)
        said = [wanted.digest, python, self._ours if wanted.worker != "pinned" else ""]
        return hashlib.sha256("\0".join(said).encode()).hexdigest()[:_NAME]

    def get(self, name: str) -> Built | None:
        """The environment of this name; None when there is none that still has its Python and its libraries."""
        if not name:
            return None
        place = self.directory / name
        try:
            said = msgspec.json.decode((place / _STAMP).read_bytes(), type=_Stamp)
        except (OSError, *UNDECODABLE):
            return None
        python = place / "bin" / "python"
        if not os.access(python, os.X_OK) or len(installed_in(place)) < said.packages:
            # Its Python was removed, or a library: it is built again.
            return None
        return Built(name, python, **msgspec.structs.asdict(said))

    def doubt(self) -> None:
        """The machine or the bot ended without order: verify what is here before it is used."""
        self._doubted = {one.name for one in _entries(self.directory) if not one.name.startswith(".")}

    def whole(self, name: str) -> Built | None:
        """As `get`, but None also for one that is in doubt and has a damaged library. Slow: call it in a thread."""
        built = self.get(name)
        if built is not None and built.recorded and name in self._doubted:
            damage = damage_in(self.directory / name)
            with self._lock:
                if damage:
                    self._damaged[name] = damage
                self._doubted.discard(name)
        return None if name in self._damaged else built

    def damage(self, name: str) -> str:
        """What is damaged in the environment of this name, "" when nothing is known to be."""
        return self._damaged.get(name, "")

    async def build(
        self,
        source: Path,
        wanted: Requirements,
        config: Config,
        runner: SubprocessRunner,
        say: Callable[[str], None],
    ) -> Built:
        """Build what the release in `source` asks for, and say how it goes.

        Raises `BuildFailed`, `Cut` when it was cancelled, and `DiskFull`; then nothing is left behind.
        """
        name = self.name_of(wanted, config)
        self.directory.mkdir(mode=0o700, exist_ok=True)
        need(self.directory, _ROOM, "an environment")
        place = self._place(name)
        variables = self.variables(None)
        variables = build_environment(variables, (*_OURS, *config.deploy.build_env))
        if name in self._damaged:
            # uv links files of its cache into environments: what is damaged here is damaged there.
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
        """Note that the release, or its check, runs in the environment `name`, which may still have to be built."""
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

    def prune(self, releases: Path, in_use: Collection[str] = ()) -> list[str]:
        """Remove the environments that no release in the directory `releases` runs in, but for those `in_use`."""
        gone: list[Path] = []
        with self._lock:
            needed = set(in_use)
            for link in _entries(self.directory / _OF):
                if (releases / link.name.removesuffix(_CHECK)).is_dir():
                    needed.add(self.of(link.name))
                elif not link.name.startswith("."):
                    link.unlink(missing_ok=True)
            for entry in _entries(self.directory):
                if not entry.name.startswith(".") and entry.name not in needed:
                    # Out of sight by one rename, so that nothing is started in half of one.
                    leaving = entry.with_name(f"{_OLD}{entry.name}")
                    entry.rename(leaving)
                    gone.append(leaving)
        for leaving in gone:
            shutil.rmtree(leaving, ignore_errors=True)
        return [leaving.name.removeprefix(_OLD) for leaving in gone]

    def sweep(self) -> None:
        """Remove what a killed process left half built, and wheels of an earlier neverblink."""
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
        """What a program sees that is to run in the environment at `place`, or in none."""
        seen = {name: value for name, value in self._environment.items() if name not in _NOT_OURS}
        if place is not None:
            seen["VIRTUAL_ENV"] = str(place)
            seen["PATH"] = f"{place / 'bin'}{os.pathsep}{seen.get('PATH', os.defpath)}"
        return {**seen, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}

    def _place(self, name: str) -> Path:
        # With the name of what is built in it: uv knows a library in a directory by its path.
        with self._lock:
            self._count += 1
            return self.directory / f"{_NEW}{os.getpid()}-{self._count}-{name}"

    def _settle(self, built: Path, name: str, file: str) -> Built:
        recorded = not damage_in(built)
        stamp = _Stamp(version_of(built), len(installed_in(built)), file, time.time_ns(), recorded)
        (built / _STAMP).write_bytes(msgspec.json.encode(stamp) + b"\n")
        # It has thousands of files. The name it gets says that it is whole.
        sync_filesystem(built)
        with self._lock:
            there = self.get(name) if name not in self._damaged else None
            if there is None:
                # What is in its place is broken.
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
