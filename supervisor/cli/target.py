"""What a person names to deploy: a directory, a release that is kept, or a commit.

A directory that is there wins, because `deploy .` and `deploy foresight` have always meant that; a release comes before
a commit, because its id looks like nothing else. What is found is said, so that a mistake is seen.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..config.config import load
from ..release import git
from ..release.releases import AmbiguousRelease, Release, ReleaseStore
from .context import CommandContext, NoProject
from .exit_codes import BadInput

__all__ = ["DeployTarget", "find_target"]


class DeployTarget(msgspec.Struct, frozen=True):
    """What was named: exactly one of the three. `near` is where to look for the home too."""

    shown: str
    near: Path
    path: Path | None = None
    commit: git.FoundCommit | None = None
    release: str = ""

    @property
    def words(self) -> dict[str, str]:
        """The fields of a `Deploy` that say it."""
        if self.path is not None:
            return {"path": str(self.path)}
        if self.release:
            return {"release": self.release}
        assert self.commit is not None
        found = self.commit
        return {
            "repository": str(found.repository),
            "commit": found.commit,
            "ref": found.ref,
            "directory": found.directory,
        }


def find_target(context: CommandContext, target: str) -> DeployTarget:
    """What `said` means, seen from `here`. Raises `BadInput`, `ConfigError` and `AmbiguousRelease`.

    For a server elsewhere it is a directory or a release there, and only the supervisor can look.
    """
    if context.server:
        if Path(target).is_absolute():
            return DeployTarget(target, context.cwd, path=Path(target))
        if "/" in target or target in (".", ".."):
            raise BadInput(f"{target} is a directory on the server: name it by its full path")
        return DeployTarget(f"release {target}", context.cwd, release=target)
    place = context.path(Path(target))
    if place.is_dir():
        # Find out here what a look can find out, so that the mend is said in the caller's words.
        load(place)
        return DeployTarget(target, place, path=place)
    release = _release(context, target)
    if release is not None:
        return DeployTarget(f"release {release.id}", context.cwd, release=release.id)
    stand = _stand(context)
    found = git.resolve(stand, target)
    if found is not None:
        called = f" ({found.ref})" if not found.commit.startswith(found.ref) else ""
        return DeployTarget(f"commit {found.commit[:8]}{called}", stand, commit=found)
    if place.exists():
        raise BadInput(
            f"{place} is a file: name the directory it is in; `neverblink deploy` takes a directory with the bot's "
            "code, a commit, or a release"
        )
    raise BadInput(
        f'"{target}" is not a directory, a kept release (see `neverblink releases`) or a git commit in '
        f"a git repository around {stand}"
    )


def _stand(context: CommandContext) -> Path:
    """The directory in whose repository a commit is looked for: the project's, when it is around the caller."""
    try:
        project = context.project
    except NoProject:
        return context.cwd
    return project


def _release(context: CommandContext, target: str) -> Release | None:
    try:
        store = ReleaseStore(context.home.releases)
        known = store.list()
    except (NoProject, OSError):
        return None
    linked = {"current": store.current, "previous": store.previous}.get(target)
    id = (linked() if linked else None) or target
    matches = [release for release in known if release.id == id] or [
        release for release in known if id and release.id.startswith(id)
    ]
    if len(matches) > 1:
        raise AmbiguousRelease(store.directory, target, [release.id for release in matches])
    return matches[0] if matches else None
