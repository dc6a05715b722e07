"""Imports the module of an author's code from the current directory, or from src/ in it."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from ...protocol.assignment import SOURCES
from ...protocol.errors import NeverblinkError

__all__ = ["import_module"]


def import_module(name: str, what: str, error: type[NeverblinkError]) -> ModuleType:
    """Import the module and return it. Raises `error`, with `what` needs it, when it is missing, and what it raises."""
    _find_sources(name.partition(".")[0])
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name and (name == problem.name or name.startswith(problem.name + ".")):
            raise error(f"{what}: there is no module {problem.name} in {os.getcwd()}") from None
        raise


def _find_sources(package: str) -> None:
    """Import from src/ too, for a project with that layout; the top directory still comes first."""
    here, sources = Path.cwd(), Path.cwd() / SOURCES
    if not _has(here, package) and _has(sources, package) and str(sources) not in sys.path:
        sys.path.insert(1, str(sources))


def _has(directory: Path, package: str) -> bool:
    return (directory / package).is_dir() or (directory / f"{package}.py").is_file()
