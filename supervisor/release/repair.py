"""Repairs a release that a power cut, a bad disk or a person has damaged.

A release is intact when its files have the digest in its manifest. A damaged release is made again: from its commit,
if a known repository has it, or from the directory it was made of, if that still has the same code. It keeps its name,
because the history and the interpreter it was deployed with refer to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ...protocol.errors import NeverblinkError
from ..store.history_rows import CommitNote
from . import git
from .releases import (
    NoSuchRelease,
    Release,
    ReleaseError,
    ReleaseStore,
)

__all__ = ["Repair"]


class Repair:
    """Repairs releases in `releases`.

    `project` may have the code of a missing release, `repositories()` are git directories that may have a commit, and
    `say` gets a line for each finding and each repair.
    """

    def __init__(
        self,
        releases: ReleaseStore,
        project: Path,
        repositories: Callable[[], Iterable[Path]],
        say: Callable[[str], None],
    ) -> None:
        self._releases = releases
        self._project = project
        self._repositories = repositories
        self._say = say

    def whole(self, id: str, bot: str, note: CommitNote | None) -> Release:
        """The release `id`, which runs `bot`, repaired if it is damaged; `note` is its commit by the history.

        Slow: call it in a thread. Raises `ReleaseError` when it can't be repaired.
        """
        try:
            release = self._releases.get(id)
        except NoSuchRelease:
            release = None
        if release is not None and self._releases.intact(release):
            return release
        found = (
            "its files are not what was deployed" if release is not None else "it is not there, or unreadable"
        )
        self._say(f"release {id} is damaged: {found}")
        note = release.note if release is not None and release.note is not None else note
        if note is not None:
            for repository in self._where(release):
                if self._of_commit(id, bot, note, release, repository):
                    return self._made(id, f"commit {note.commit[:8]}")
        else:
            source = Path(release.origin) if release is not None else self._project
            if self._of_directory(id, bot, source, release):
                return self._made(id, str(source))
        raise ReleaseError(
            self._releases.directory / id,
            f"{found}, and it can't be made again: neither its commit nor the same code was found",
        )

    def _made(self, id: str, of: str) -> Release:
        self._say(f"release {id} was made again from {of}")
        return self._releases.get(id)

    def _where(self, release: Release | None) -> list[Path]:
        known = list(self._repositories())
        if release is not None:
            known[:0] = [Path(release.origin), Path(release.origin) / ".git"]
        return [path for path in dict.fromkeys(known) if path.is_dir()]

    def _of_commit(self, id: str, bot: str, note: CommitNote, release: Release | None, place: Path) -> bool:
        found = git.resolve(place, note.commit)
        if found is None or found.commit != note.commit:
            return False
        origin = Path(release.origin) if release is not None else place
        try:
            with self._releases.workspace() as exported:
                git.export(found.repository, note.commit, exported, found.directory)
                return self._releases.restore(id, exported, bot, note, origin, release)
        except NeverblinkError as problem:
            self._say(
                f"release {id} can't be made again from commit {note.commit[:8]} in {place}: {problem.message}"
            )
            return False

    def _of_directory(self, id: str, bot: str, source: Path, release: Release | None) -> bool:
        bot = bot if release is None else ""
        try:
            return source.is_dir() and self._releases.restore(id, source, bot, None, source, release)
        except NeverblinkError:
            return False
