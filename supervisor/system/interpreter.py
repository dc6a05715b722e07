"""Finds a Python interpreter by its name or path, through the shims that version managers put in front of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

from ...protocol.errors import NeverblinkError
from .text import clean

__all__ = ["InterpreterError", "find_interpreter"]

_ELF = b"\x7fELF"
_WITHIN_S = 20.0


class InterpreterError(NeverblinkError):
    """There is no interpreter `python`, or it does not run."""

    def __init__(self, python: str, problem: str) -> None:
        super().__init__(f"python = {python!r}: {problem}")
        self.python = python


def find_interpreter(python: str, environment: Mapping[str, str]) -> str:
    """The absolute path of the interpreter `python`, a path or a name on the PATH of `environment`.

    A shim (pyenv, asdf) is a script on PATH that exists for every version, also for those that are switched off: it is
    asked for the interpreter behind it. A script that is named by its path is the user's own wrapper, and stays.
    Raises `InterpreterError`.
    """
    found = shutil.which(python, path=environment.get("PATH", os.defpath))
    if found is None:
        mend = "install it, or set `python` in neverblink.toml to one that is here"
        raise InterpreterError(python, f"there is no such interpreter: {mend}")
    found = os.path.abspath(found)
    if "/" in python or not _is_script(found):
        return found
    try:
        done = subprocess.run(
            [found, "-c", "import sys; print(sys.executable)"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InterpreterError(python, f"{found} did not answer within {_WITHIN_S:.0f} s") from None
    except OSError as problem:
        raise InterpreterError(python, f"{found} cannot be run: {problem.strerror}") from None
    behind = os.fsdecode(done.stdout.strip())
    if done.returncode or not os.access(behind, os.X_OK):
        first = next((line for line in clean(done.stderr).splitlines() if line.strip()), "it printed nothing")
        raise InterpreterError(
            python, f"{found} finds no interpreter ({first.strip()}): name the path of one that is installed"
        )
    return behind


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_ELF)) != _ELF
    except OSError:
        return False
