"""Copies a bot's directory so that the copy stands alone, with a digest of its contents.

The copy leaves out what can't be moved (version control, environments, which contain their own path, caches, sockets)
and what the project's rules exclude: see `release.ignore`. A link stays a link and must lead to something within the
tree, because a release that reads its code from elsewhere changes when that does.

Files and directories of the copy are read-only, so a bot that writes beside its code fails in the rehearsal, not with
the next deployment. Only the directories in which Python keeps compiled files are writable.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from ...protocol.errors import NeverblinkError
from .ignore import Ignore, IgnoreRule, looks_secret

__all__ = [
    "COMPILED",
    "LARGE_FILE",
    "LED",
    "LEFT_OUT",
    "MANIFEST",
    "MOST_BYTES",
    "CopiedTree",
    "LeftOut",
    "TreeError",
    "copy_tree",
    "digest_of",
    "remove_tree",
    "size_of",
]

MANIFEST = ".release.json"
"""The manifest of a release. It is not part of the code, and a release made of a release does not inherit it."""

LED = ".release.led"
"""An empty file in releases made by 0.1: the release has led."""

COMPILED = "__pycache__"
"""Where Python keeps compiled files, in each directory with code."""

LEFT_OUT = frozenset(
    {
        ".git",
        ".hg",
        ".hypothesis",
        ".mypy_cache",
        ".neverblink",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        ".venv",
        LED,
        MANIFEST,
        COMPILED,
        "node_modules",
    }
)
MOST_BYTES = 2 * 1024**3
LARGE_FILE = 16 * 1024**2
"""Files of this size and more are reported: each deployment copies them, and several releases are kept."""
_ENVIRONMENT = "pyvenv.cfg"


class TreeError(NeverblinkError):
    """The directory can't be copied to stand alone; `entry` is the reason."""

    def __init__(self, entry: str, problem: str) -> None:
        super().__init__(f"{entry}: {problem}")
        self.entry = entry


class LeftOut(msgspec.Struct, frozen=True):
    """A file or directory (with a final `/`) that a rule excluded from the copy."""

    name: str
    rule: IgnoreRule


class CopiedTree(msgspec.Struct, frozen=True):
    """The result of a copy. `digest` is hexadecimal SHA-256."""

    digest: str
    files: int
    bytes: int
    left_out: tuple[LeftOut, ...] = ()
    large: tuple[tuple[str, int], ...] = ()
    """Files of `LARGE_FILE` and more, with their sizes."""
    secrets: tuple[tuple[str, str], ...] = ()
    """Files that look like secrets, with the reason."""


def copy_tree(
    source: Path,
    target: Path,
    leave_out: Collection[Path] = (),
    most_bytes: int = MOST_BYTES,
    ignore: Ignore | None = None,
) -> CopiedTree:
    """Copy `source` to the new directory `target`, read-only and for this user alone, and digest it on the way.

    `target` itself stays writable, for what the caller adds.

    `leave_out` are further directories, by their real paths; `ignore` are the project's rules. Raises `TreeError` for a
    link that leads out, for more than `most_bytes`, and for a file that went away meanwhile; `OSError` for what the
    system refuses.
    """
    digest = hashlib.sha256()
    files = size = 0
    left_out: list[LeftOut] = []
    root = source.resolve()
    target.mkdir(0o700)
    directories: list[Path] = []
    large: list[tuple[str, int]] = []
    secrets: list[tuple[str, str]] = []
    for name, entry in _walk(root, leave_out, ignore, left_out):
        copy = target / name
        if entry.is_symlink():
            copy.symlink_to(_inner_link(root, name, Path(entry.path)))
            _update_digest(digest, name, copy)
            continue
        if entry.is_dir():
            copy.mkdir(0o700)
            directories.append(copy)
            continue
        size += entry.stat().st_size
        if size > most_bytes:
            raise TreeError(
                name, f"more than {most_bytes // 1024**2} MiB of files: is it the right directory?"
            )
        try:
            shutil.copy2(entry.path, copy)
        except FileNotFoundError:
            raise TreeError(name, "was removed while it was copied: deploy again") from None
        if entry.name.endswith(".py"):
            # Otherwise a worker's Python makes it, with the bot's umask, and open to others.
            (copy.parent / COMPILED).mkdir(0o700, exist_ok=True)
        copy.chmod(0o500 if entry.stat().st_mode & stat.S_IXUSR else 0o400)
        # Read the copy: the source may have changed since.
        _update_digest(digest, name, copy)
        files += 1
        length = copy.stat().st_size
        if length >= LARGE_FILE:
            large.append((name, length))
        if ignore is not None and (why := looks_secret(name, copy)):
            secrets.append((name, why))
    for directory in directories:
        directory.chmod(0o500)
    return CopiedTree(digest.hexdigest(), files, size, tuple(left_out), tuple(large), tuple(secrets))


def digest_of(directory: Path, leave_out: Collection[Path] = (), ignore: Ignore | None = None) -> str:
    """The digest of a copy; or, with `leave_out` and `ignore`, the digest that `copy_tree` would return.

    Covers names, links, contents and the right to execute; not times, owners or empty directories.
    """
    digest = hashlib.sha256()
    for name, entry in _walk(directory, leave_out, ignore):
        if entry.is_symlink() or not entry.is_dir():
            _update_digest(digest, name, Path(entry.path))
    return digest.hexdigest()


def size_of(source: Path, leave_out: Collection[Path] = (), ignore: Ignore | None = None) -> int:
    """The size of a copy of `source` in bytes. Raises `OSError`."""
    root = source.resolve()
    sizes = (
        entry.stat(follow_symlinks=False).st_size
        for _, entry in _walk(root, leave_out, ignore)
        if entry.is_file(follow_symlinks=False)
    )
    return sum(sizes)


def remove_tree(directory: Path) -> None:
    """Remove a copy, or any directory, whose directories may be read-only. Raises `OSError`."""
    for place, _, _ in os.walk(directory):
        os.chmod(place, 0o700)
    shutil.rmtree(directory)


def _walk(
    root: Path,
    leave_out: Collection[Path],
    ignore: Ignore | None = None,
    left_out: list[LeftOut] | None = None,
    inside: str = "",
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry below `root` with its relative name, in an order that depends on names alone."""
    with os.scandir(root / inside) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = inside + entry.name
        if entry.name in LEFT_OUT:
            continue
        is_file = entry.is_symlink() or entry.is_file()
        if not is_file and (not entry.is_dir() or Path(entry.path) in leave_out or _is_environment(entry)):
            continue
        rule = ignore.rule(name, directory=not is_file) if ignore is not None else None
        if rule is not None:
            if left_out is not None:
                left_out.append(LeftOut(name if is_file else f"{name}/", rule))
            continue
        yield name, entry
        if not is_file:
            yield from _walk(root, leave_out, ignore, left_out, name + "/")


def _is_environment(entry: os.DirEntry[str]) -> bool:
    return os.path.exists(os.path.join(entry.path, _ENVIRONMENT))


def _inner_link(root: Path, name: str, link: Path) -> str:
    target = os.readlink(link)
    if os.path.isabs(target):
        raise TreeError(name, f"is a link to {target}: make it relative, or copy its target")
    if not Path(os.path.realpath(link)).is_relative_to(root):
        raise TreeError(name, f"is a link out of the directory, to {target}: copy its target")
    return target


def _update_digest(digest: hashlib._Hash, name: str, path: Path) -> None:  # pyright: ignore[reportPrivateUsage]
    if path.is_symlink():
        content, kind = hashlib.sha256(os.fsencode(os.readlink(path))), b"l"
    else:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256")
        kind = b"x" if path.stat().st_mode & stat.S_IXUSR else b"f"
    digest.update(os.fsencode(name) + b"\0" + kind + content.digest())
