"""The requirements of a release's environment, read from its own files, with a digest of exactly those.

    uv.lock beside pyproject.toml       exactly what is locked
    pyproject.toml with [project]       its dependencies
    requirements.txt                    or the only requirements*.txt
    none of them                        no environment: the configured interpreter runs the release

The digest covers all input and nothing else: a new version number or another probation must not cause a new
environment, while a changed library in the tree must. Reads files and runs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import unquote, urlsplit

import msgspec

from ...protocol.text import NotText, decode_file
from ..config.config import AUTO, NO_ENVIRONMENT, Config, ConfigError, read_toml
from ..release.copy_tree import digest_of
from .wheels import DISTRIBUTION

__all__ = ["Requirements", "wanted"]

Kind = Literal["lock", "project", "requirements"]

_FORMAT = 1
"""Part of every digest: raise it when environments are built in another way."""

_OF_PROJECT = ("dependencies", "optional-dependencies", "requires-python", "dynamic", "name")
_INCLUDES = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)", re.MULTILINE)
_OURS = re.compile(rf"^\s*{DISTRIBUTION}\s*(\[[^\]]*\])?\s*(?P<pin>[^;#\n]*)", re.IGNORECASE)


class Requirements(msgspec.Struct, frozen=True):
    """What a release requires. `digest` covers all of its input in the release, hexadecimal."""

    kind: Kind
    file: str
    """The file with the requirements, for people and for uv."""
    files: tuple[str, ...]
    """All files that uv needs; with `tree`, the whole release."""
    tree: bool
    """The release itself has requirements: a library beside the bot, or a wheel."""
    python: str
    """The required Python, in uv's syntax; "" for the configured one."""
    groups: tuple[str, ...]
    """Dependency groups to install too."""
    worker: Literal["ours", "named", "pinned"]
    """Neverblink in it: not named, named without a version, or pinned."""
    digest: str


def wanted(directory: Path, config: Config, *, development: bool = False) -> Requirements | None:
    """The requirements of the release in `directory`, None for none. Raises `ConfigError` for an unreadable file.

    The bot gets its dependencies, and the groups in `tool.uv.default-groups` where the project lists them itself. With
    `development`, which is for the check, uv's own default is added: the group `dev`.
    """
    if config.environment == NO_ENVIRONMENT:
        return None
    if config.environment != AUTO:
        if not (directory / config.environment).is_file():
            raise ConfigError(
                config.path,
                "environment",
                f'there is no "{config.environment}" here: expected a file of requirements',
            )
        return _requirements(directory, config.environment)
    project = read_toml(directory / "pyproject.toml")
    if project is not None and (directory / "uv.lock").is_file():
        return _locked(directory, project, development)
    if project is not None and isinstance(project.get("project"), dict):
        return _declared(directory, project, development)
    found = sorted(path.name for path in directory.glob("requirements*.txt") if path.is_file())
    if "requirements.txt" in found or len(found) == 1:
        return _requirements(directory, "requirements.txt" if "requirements.txt" in found else found[0])
    if found:
        raise ConfigError(
            config.path,
            "environment",
            f'say which one the bot runs with: one of {", ".join(found)}, or "none"',
        )
    return None


def _locked(directory: Path, project: dict[str, Any], development: bool) -> Requirements:
    lock = directory / "uv.lock"
    table = read_toml(lock) or {}
    packages = [_dict(package) for package in _list(table.get("package"))]
    paths = [
        str(source[key])
        for package in packages
        for source in [_dict(package.get("source"))]
        for key in ("path", "directory", "editable", "virtual")
        if key in source and source[key] != "."
    ]
    _refuse_outside(directory, "uv.lock", paths)
    tree = bool(paths or _local_sources(directory, project))
    known = any(package.get("name") == DISTRIBUTION for package in packages)
    parts = [lock.read_bytes(), _canonical(project)]
    return _made(
        directory,
        "lock",
        "uv.lock",
        ("uv.lock", "pyproject.toml"),
        tree,
        project,
        "pinned" if known else "ours",
        parts,
        _groups(project, development),
    )


def _declared(directory: Path, project: dict[str, Any], development: bool) -> Requirements:
    names = [str(line) for line in _list(_dict(project["project"]).get("dependencies"))]
    groups = _groups(project, development)
    for group in groups:
        names += [
            str(line)
            for line in _list(_dict(project["dependency-groups"]).get(group))
            if isinstance(line, str)
        ]
    _refuse_outside(
        directory, "pyproject.toml", [*_source_paths(project), *(p for n in names for p in _paths_in(n))]
    )
    worker = "pinned" if DISTRIBUTION in _dict(_tool(project).get("sources")) else _worker(names)
    tree = bool(_local_sources(directory, project)) or "dependencies" in _list(
        _dict(project["project"]).get("dynamic")
    )
    parts = [_canonical(project)]
    return _made(
        directory, "project", "pyproject.toml", ("pyproject.toml",), tree, project, worker, parts, groups
    )


def _requirements(directory: Path, name: str) -> Requirements:
    files = list(_with_included(directory, name))
    texts = [_text(directory / file) for file in files]
    for file, text in zip(files, texts, strict=True):
        for line in text.splitlines():
            _refuse_outside(directory, file, _paths_in(line))
    lines = [line for text in texts for line in text.splitlines()]
    tree = any(
        _is_local(directory, file, line)
        for file, text in zip(files, texts, strict=True)
        for line in text.splitlines()
    )
    parts = [text.encode() for text in texts]
    project = read_toml(directory / "pyproject.toml") or {}
    return _made(directory, "requirements", name, tuple(files), tree, project, _worker(lines), parts)


def _made(
    directory: Path,
    kind: Kind,
    file: str,
    files: tuple[str, ...],
    tree: bool,
    project: dict[str, Any],
    worker: Literal["ours", "named", "pinned"],
    parts: list[bytes],
    groups: tuple[str, ...] = (),
) -> Requirements:
    python = _python(directory, project)
    digest = hashlib.sha256(f"{_FORMAT} {kind} {python}\n".encode())
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    settings = [name for name in ("pyproject.toml", "uv.toml") if (directory / name).is_file()]
    digest.update(msgspec.json.encode([_tool(project), groups], order="deterministic", enc_hook=str))
    if "uv.toml" in settings:
        digest.update((directory / "uv.toml").read_bytes())
    if tree:
        digest.update(digest_of(directory).encode())
    files = tuple(dict.fromkeys([*files, *settings]))
    return Requirements(kind, file, files, tree, python, groups, worker, digest.hexdigest())


def _python(directory: Path, project: dict[str, Any]) -> str:
    try:
        lines = _text(directory / ".python-version").splitlines()
    except OSError:
        lines = []
    versions = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return versions[0] if versions else str(_dict(project.get("project")).get("requires-python", ""))


def _worker(lines: list[str]) -> Literal["ours", "named", "pinned"]:
    for line in lines:
        found = _OURS.match(line)
        # Another distribution's name may begin with ours.
        if found and not re.match(r"[A-Za-z0-9._-]", found["pin"]):
            return "pinned" if found["pin"].strip() else "named"
    return "ours"


def _canonical(project: dict[str, Any]) -> bytes:
    """The parts of a pyproject.toml that determine an environment."""
    table = _dict(project.get("project"))
    declared = {key: table[key] for key in _OF_PROJECT if key in table}
    parts = [declared, project.get("dependency-groups"), project.get("build-system"), _tool(project)]
    return msgspec.json.encode(parts, order="deterministic", enc_hook=str)


def _groups(project: dict[str, Any], development: bool) -> tuple[str, ...]:
    there = _dict(project.get("dependency-groups"))
    chosen = _tool(project).get("default-groups", ["dev"] if development else [])
    names = list(there) if chosen == "all" else [str(name) for name in _list(chosen)]
    return tuple(name for name in names if name in there)


def _source_paths(project: dict[str, Any]) -> list[str]:
    """The paths in [tool.uv.sources]."""
    sources = _dict(_tool(project).get("sources")).values()
    each = [_dict(entry) for source in sources for entry in (_list(source) or [source])]
    return [str(entry["path"]) for entry in each if "path" in entry]


def _paths_in(line: str) -> list[str]:
    """The paths in a line of requirements, which may lead out of the release."""
    line = re.sub(r"(^|\s)#.*", "", line).partition(";")[0]
    if re.match(r"\s*--?(?!e\b|editable\b|f\b|find-links\b|r\b|requirement\b|c\b|constraint\b)", line):
        # Options such as --index-url and --cert are not part of a release.
        return []
    words = [word.strip("\"'") for word in re.split(r"[\s=@,]+", line)]
    return [word for word in words if word.startswith(("../", "./", "/", "file:")) or word == ".."]


def _refuse_outside(directory: Path, file: str, paths: Iterable[str]) -> None:
    """Raise `ConfigError` for a path in `file` that leads out of the release: a release stands alone."""
    for path in paths:
        place = path.partition("[")[0]
        if place.startswith("file:"):
            place = unquote(urlsplit(place).path)
        where = os.path.normpath(os.path.join(os.path.dirname(file), place))
        if os.path.isabs(where) or where == ".." or where.startswith("../"):
            raise ConfigError(
                directory / file,
                "",
                f'"{path}" leads out of the release, which is a copy of {directory.name} alone: put that library into '
                "the bot's directory (as libs/NAME), or name it by a version, a URL or a git repository",
            )


def _text(path: Path) -> str:
    """The text of a file. Raises `ConfigError` when it is not text, and `OSError`."""
    try:
        return decode_file(path.read_bytes())
    except NotText as problem:
        raise ConfigError(path, "", str(problem)) from None


def _local_sources(directory: Path, project: dict[str, Any]) -> list[str]:
    """Paths in [tool.uv] within the release: libraries beside the bot, directories of wheels."""
    tool = _tool(project)
    sources = [
        entry for source in _dict(tool.get("sources")).values() for entry in (_list(source) or [source])
    ]
    places = [
        *(str(entry) for entry in _list(tool.get("find-links"))),
        *(
            str(_dict(entry).get("path", "."))
            for entry in sources
            if {"path", "workspace"} & _dict(entry).keys()
        ),
        *(str(_dict(entry).get("url", "")) for entry in _list(tool.get("index"))),
    ]
    return [place for place in places if place and _exists(directory, place)]


def _with_included(directory: Path, name: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The file and those it includes, by their names within the release."""
    if name in seen:
        return
    yield name
    text = _text(directory / name)
    for included in _INCLUDES.findall(text):
        inside = (Path(name).parent / included).as_posix()
        if (directory / inside).is_file() and ".." not in Path(inside).parts:
            yield from _with_included(directory, inside, seen | {name})


def _is_local(directory: Path, file: str, line: str) -> bool:
    """Whether a line of requirements names something in the release."""
    if _INCLUDES.match(line):
        return False
    line = re.sub(r"(^|\s)#.*", "", line)
    words = (
        word.partition("[")[0].removeprefix("file:").strip("\"'") for word in re.split(r"[\s=@;,]+", line)
    )
    return any(
        word and ("/" in word or word.startswith(".")) and _exists(directory / Path(file).parent, word)
        for word in words
    )


def _exists(directory: Path, place: str) -> bool:
    return "://" not in place and not Path(place).is_absolute() and (directory / place).exists()


def _tool(project: dict[str, Any]) -> dict[str, Any]:
    return _dict(_dict(project.get("tool")).get("uv"))


def _dict(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
