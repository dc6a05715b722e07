"""What an episode needs from the machine: a separate file system for the home, and a separate wall clock.

Both are real: a tmpfs that the kernel says is full, and a library that is preloaded into the bot's processes and steps
what `clock_gettime` returns. Neither affects anything else on the machine. Where one is not available, `lacking` says
why, and the fault kinds that need it are left out by name.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from .plan import Kind

__all__ = ["Clock", "Disk", "MachineError", "lacking"]

_SHIM = Path(__file__).with_name("clock_shim.c")
_SIZE = 512 * 1024 * 1024
_INODES = 20_000
_TRIES = 100
_OFFSET = struct.Struct("=q")


class MachineError(Exception):
    """The machine does not allow it."""


class Disk:
    """A tmpfs mounted on `path`, which can be filled and freed again.

    Raises `MachineError` when it can't be mounted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE},nr_inodes={_INODES},mode=700", "chaos", str(path))

    def fill(self, what: str) -> Callable[[], None]:
        """Leave no space for another block, or, with `what` "inodes", for another file; return a function to undo it.

        The file system is shrunk to what is in use. The kernel then refuses a write with ENOSPC, and no memory is
        spent on filling it.
        """
        last = MachineError(f"{self._path} can't be filled")
        for _ in range(_TRIES):
            found = os.statvfs(self._path)
            try:
                if what == "inodes":
                    self._remount(f"nr_inodes={found.f_files - found.f_ffree}")
                else:
                    self._remount(f"size={max(1, found.f_blocks - found.f_bfree) * found.f_frsize}")
                break
            except MachineError as problem:
                # A file has grown since, so that it would not fit.
                last = problem
        else:
            raise last
        return lambda: self._remount(f"size={_SIZE},nr_inodes={_INODES}")

    def close(self) -> None:
        """Unmount the file system with everything in it. Processes that still use it keep it until they end."""
        subprocess.run(["umount", "-l", str(self._path)], check=False, capture_output=True)

    def _remount(self, options: str) -> None:
        _run("mount", "-o", f"remount,{options}", str(self._path))


class Clock:
    """A wall clock for processes that are started with `environment`; its files are in `place`.

    Raises `MachineError` when the library can't be built.
    """

    def __init__(self, place: Path) -> None:
        self._file = place / "clock"
        self._file.write_bytes(_OFFSET.pack(0))
        self._by = 0
        library = place / "clock.so"
        library.write_bytes(_built())
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._file)}

    def step(self, by: int) -> Callable[[], None]:
        """Step the clock by so many ns; return a function that steps it back."""
        self._add(by)
        return lambda: self._add(-by)

    def _add(self, by: int) -> None:
        self._by += by
        # In place, because the processes have mapped the file.
        with self._file.open("r+b") as file:
            file.write(_OFFSET.pack(self._by))


@cache
def lacking() -> dict[Kind, str]:
    """Kinds of fault that this machine does not allow, and why."""
    found: dict[Kind, str] = {}
    try:
        with TemporaryDirectory(prefix="chaos-disk-") as place:
            Disk(Path(place)).close()
    except MachineError as problem:
        found["full"] = f"no tmpfs can be mounted: {problem}"
    try:
        _built()
    except MachineError as problem:
        found["clock"] = f"the library that steps a clock can't be built: {problem}"
    return found


@cache
def _built() -> bytes:
    """The preloaded library."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise MachineError("there is no C compiler")
    with TemporaryDirectory(prefix="chaos-clock-") as place:
        library = Path(place) / "clock.so"
        _run(compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SHIM), "-ldl")
        return library.read_bytes()


def _run(*words: str) -> None:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except OSError as problem:
        raise MachineError(f"{words[0]}: {problem.strerror}") from None
    if done.returncode:
        raise MachineError(
            (done.stderr.strip() or f"{words[0]} ended with {done.returncode}").splitlines()[-1]
        )
