"""Where a deployment's code comes from, and making a release of it.

    a directory     its current contents
    a commit        exported by git; a dirty working tree or a bare repository makes no difference
    a release       a kept one

`source_of` determines the source that a command names. `release_of` makes (or finds) the release and reads its
configuration. It is slow for large trees: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec

from ...protocol.commands import Deploy
from ..config.config import Config, ConfigError, load
from ..system.disk import need
from ..system.errors import Refusal
from ..system.text import clean
from . import git
from .releases import Release, ReleaseStore

__all__ = ["CommitSource", "DirectorySource", "KeptRelease", "Source", "release_of", "source_of"]


class DirectorySource(msgspec.Struct, frozen=True):
    """A directory, absolute."""

    path: Path


class CommitSource(msgspec.Struct, frozen=True):
    """A commit of a repository: see `commands.Deploy`."""

    repository: Path
    id: str
    ref: str
    directory: str
    objects: str

    @property
    def project(self) -> Path:
        """The directory for relative paths in its configuration: the working tree, if there is one."""
        top = self.repository.parent if self.repository.name == ".git" else self.repository
        return top / self.directory

    def __str__(self) -> str:
        called = f" ({self.ref})" if self.ref and not self.id.startswith(self.ref) else ""
        return f"commit {self.id[:8]}{called}"


class KeptRelease(msgspec.Struct, frozen=True):
    """A kept release, by a name that a person gave: see `ReleaseStore.find`."""

    name: str


Source = DirectorySource | CommitSource | KeptRelease


def source_of(command: Deploy) -> Source:
    """The source that the command names. Raises `Refusal` when it names none or several, or names it wrongly."""
    given = [name for name in ("path", "commit", "release") if getattr(command, name)]
    if len(given) != 1:
        meant = f"{' and '.join(given)} are given" if given else "nothing to deploy is given"
        raise Refusal("bad-input", f"{meant}: expected one of path, commit (with repository) and release")
    if command.release:
        return KeptRelease(command.release)
    if command.path:
        return DirectorySource(_absolute("path", command.path))
    inside = PurePosixPath(command.directory or ".")
    for name, text in (("commit", command.commit), ("ref", command.ref), ("directory", command.directory)):
        if "\0" in text:
            raise Refusal("bad-input", f'{name} "{clean(text)}": must not contain NUL')
    if inside.is_absolute() or ".." in inside.parts:
        raise Refusal("bad-input", f'directory "{command.directory}": expected a directory inside the commit')
    if command.objects:
        _absolute("objects", command.objects)
    return CommitSource(
        repository=_absolute("repository", command.repository),
        id=command.commit,
        ref=command.ref,
        directory="" if str(inside) == "." else str(inside),
        objects=command.objects,
    )


def release_of(
    source: Source, releases: ReleaseStore, warn: Callable[[str], None] = lambda _: None
) -> tuple[Release, Config]:
    """The release of `source`, and its configuration. Calls `warn` with each line that a person should see.

    Raises `ConfigError`, `ReleaseError`, `GitError` and `DiskFull`.
    """
    match source:
        case DirectorySource(path=path):
            release = releases.make(path, load(path).module, warn=warn)
            return release, load(release.path, path)
        case KeptRelease(name=name):
            release = releases.find(name)
            return release, load(release.path, Path(release.origin))
        case CommitSource():
            return _release_of_commit(source, releases, warn)


def _release_of_commit(
    source: CommitSource, releases: ReleaseStore, warn: Callable[[str], None]
) -> tuple[Release, Config]:
    where = source.repository, source.id
    note = git.describe(*where, source.ref, source.objects)
    contents = git.contents_of(*where, source.directory, source.objects)
    # The export, and then the release.
    need(releases.directory, 2 * contents.bytes, "a release")
    for submodule in contents.submodules:
        warn(
            f"{submodule} is a submodule: its files are not in the commit, and the release has an empty directory there"
        )
    with releases.workspace() as place:
        try:
            git.export(*where, place, source.directory, source.objects)
            config = load(place, source.project)
            release = releases.make(place, config.module, note, source.project, warn)
        except (ConfigError, git.GitError) as problem:
            problem.message = (
                f"{source}: {problem.message.replace(f'{place}/', '').replace(str(place), 'it')}"
            )
            raise
    return release, load(release.path, source.project)


def _absolute(name: str, text: str) -> Path:
    if "\0" in text:
        raise Refusal("bad-input", f'{name} "{clean(text)}": must not contain NUL')
    path = Path(text)
    if not path.is_absolute():
        raise Refusal(
            "bad-input", f'{name} "{text}": must be absolute: the supervisor has another working directory'
        )
    return path
