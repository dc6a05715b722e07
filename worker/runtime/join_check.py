"""Whether a script can ever join: found in its source, before it is imported.

An ordinary script that was named as a bot runs until it is interrupted, perhaps already while it is imported. So a
function is refused if neither its module, nor any module of the project that this one imports, imports neverblink. That
is certain only for code that can be read: where modules are imported by computed names, or a library of the environment
builds on neverblink, nothing is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from ...protocol.assignment import SOURCES

__all__ = ["never_joins"]

_OURS = "neverblink"
_MOST_FILES = 2000
_LARGEST = 1_000_000
_DYNAMIC = ("import_module", "__import__", "exec", "eval", "run_path", "run_module")


class _Unreadable(Exception):
    """The source does not say what is imported."""


def never_joins(module: str, name: str, project: Path) -> bool:
    """Whether the function `name` of `module` certainly never calls `join`."""
    start = _file_of(module, project)
    if start is None:
        return False
    try:
        tree = _parse(start)
        if not any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
            for node in tree.body
        ):
            return False
        return not _uses_neverblink(start, project) and not _library_uses_it()
    except _Unreadable:
        return False


def _uses_neverblink(start: Path, project: Path) -> bool:
    """Whether `start`, or a file of the project that it imports, imports neverblink. Raises `_Unreadable`."""
    waiting, seen = [start], {start}
    while waiting:
        if len(seen) > _MOST_FILES:
            raise _Unreadable
        file = waiting.pop()
        for module in _imported(_parse(file), file, project):
            if module.partition(".")[0] == _OURS:
                return True
            for found in _files_of(module, project):
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
    return False


def _imported(tree: ast.Module, file: Path, project: Path) -> Iterator[str]:
    """The modules that a file may import, by their full names."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _base(file, project, level) if level else ""
                full = ".".join(part for part in (base, module or "") if part)
                yield full
                yield from (f"{full}.{alias.name}" for alias in names)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called in _DYNAMIC:
                raise _Unreadable
            case _:
                pass


def _base(file: Path, project: Path, level: int) -> str:
    """The package to which a relative import of `level` dots refers."""
    directory = file.parent
    for _ in range(level - 1):
        directory = directory.parent
    for root in (project / SOURCES, project):
        if directory.is_relative_to(root):
            return ".".join(directory.relative_to(root).parts)
    raise _Unreadable


def _files_of(module: str, project: Path) -> Iterator[Path]:
    """The files of the project that importing `module` runs: packages above it, too."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        found = _file_of(".".join(parts[:length]), project)
        if found is not None:
            yield found


def _file_of(module: str, project: Path) -> Path | None:
    for root in (project, project / SOURCES):
        place = root.joinpath(*module.split("."))
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
    return None


def _parse(file: Path) -> ast.Module:
    try:
        if file.stat().st_size > _LARGEST:
            raise _Unreadable
        return ast.parse(file.read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        # Importing it says what is wrong.
        raise _Unreadable from None


def _library_uses_it() -> bool:
    """Whether a library of the environment requires neverblink, and so may join for the script."""
    for each in distributions():
        if each.metadata["Name"] == _OURS:
            # Its extras require it.
            continue
        if any(requirement.lower().startswith(_OURS) for requirement in each.requires or ()):
            return True
    return False
