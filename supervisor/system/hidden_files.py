"""Which files builds and checks cannot open, and the command that keeps them from it: see `hide_files`.

Where the kernel refuses (no user namespaces, a sandbox), a build runs all the same. That is reported once.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

__all__ = ["HiddenFiles"]

_PROGRAM = (sys.executable, "-I", "-S", str(Path(__file__).with_name("hide_files.py")))
_TRY_WITHIN_S = 10.0


class HiddenFiles:
    """Files and directories that are hidden from the commands that `wrap` returns.

    `report` gets one line, once, when they cannot be hidden here.
    """

    def __init__(self, paths: Iterable[Path] = (), report: Callable[[str], None] = lambda _: None) -> None:
        self._paths = dict.fromkeys(paths)
        self._report = report
        self._usable: bool | None = None

    def add(self, paths: Iterable[Path]) -> None:
        """Hide these too, from now on."""
        self._paths.update(dict.fromkeys(paths))

    async def wrap(self, command: Sequence[str], cwd: Path) -> tuple[str, ...]:
        """The command line that runs `command`, in the directory `cwd`, without these files.

        A directory in which the command has to work is not hidden. Paths that do not exist now are left out.
        """
        if self._paths and self._usable is None:
            problem = await asyncio.to_thread(_problem)
            self._usable = not problem
            if problem:
                self._report(
                    f"builds and checks can read the keys and tokens of the home: {problem}. They run all the same"
                )
        inside = cwd.resolve()
        places = [place for path in self._paths if (place := path.resolve()).exists()]
        hidden = [os.fspath(place) for place in places if not inside.is_relative_to(place)]
        return (*_PROGRAM, *hidden, "--", *command) if self._usable and hidden else tuple(command)


def _problem() -> str:
    """Why nothing can be hidden here, "" when it can."""
    try:
        tried = subprocess.run(
            [*_PROGRAM, "--"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TRY_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"the attempt to hide them failed ({problem})"
    if tried.returncode == 0:
        return ""
    why = tried.stdout.decode(errors="replace").strip() or f"exit {tried.returncode}"
    return f"no user namespace with mounts of its own can be made here ({why})"
