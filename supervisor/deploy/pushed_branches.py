"""The branches that deploy, compared with what runs: commits that were pushed and do not lead.

A branch is itself the record of what was pushed. It survives a hook that was killed before it could ask, a push while
deployments were locked, and a push while no supervisor ran. So nothing else is recorded. The branches of repositories
whose hooks deploy to this home are checked, and commits that do not run are reported.

They are not deployed automatically: they may have been rolled back, or moved there by hand. One command deploys them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from shlex import quote

from ...protocol.status import BranchSeen
from ..release import git
from ..release.git_hooks import settings
from ..system.format import count
from ..system.text import clean

__all__ = ["look", "told", "traces"]

_SHOWN = 8


def look(where: Path, running: str) -> BranchSeen | None:
    """The branch that deploys from the repository `where`, beside the commit that runs; None when none deploys.

    Of its deployments it says nothing yet. Raises `GitError` and `HookError`.
    """
    deploys = settings(where)
    if deploys is None:
        return None
    try:
        newest = git.ask_bytes(
            where,
            "log",
            "-1",
            "--no-show-signature",
            "--encoding=UTF-8",
            "--format=%H%x00%s",
            f"refs/heads/{deploys.branch}",
            "--",
        )
    except git.GitError:
        return BranchSeen(clean(str(where)), deploys.branch, "", running=running)
    commit, subject = (git.shortened(clean(part)) for part in newest.split(b"\0", 1))
    ahead = behind = None
    if running:
        with contextlib.suppress(git.GitError):
            # What runs may come from another repository, and then this one can't compare.
            sides = git.ask(where, "rev-list", "--count", "--left-right", f"{commit}...{running}", "--")
            ahead, behind = map(int, sides.split())
    return BranchSeen(clean(str(where)), deploys.branch, commit, subject, running, ahead, behind)


def told(seen: BranchSeen) -> str:
    """The report on a branch that does not run, with the command that deploys it; "" when nothing is to report."""
    on_its_way = seen.asked or bool(seen.deployment and not seen.outcome)
    if not seen.commit or seen.commit == seen.running or on_its_way:
        return ""
    if not seen.running and seen.deployment:
        # A directory was deployed after it, on purpose.
        return ""
    if seen.ahead and seen.behind:
        how = f"and what runs went apart: {seen.ahead} and {count(seen.behind, 'commit')} of their own"
    elif seen.ahead:
        how = f"is {count(seen.ahead, 'commit')} ahead of what runs"
    elif seen.behind:
        how = f"is {count(seen.behind, 'commit')} behind what runs"
    else:
        how = "is not what runs"
    what = f"{seen.branch} of {seen.repository} {how} ({seen.commit[:_SHOWN]} {seen.subject})"
    if not seen.deployment:
        return f"{what}: deploy it with `neverblink hook deploy {quote(str(seen.repository))}`"
    ended = {"rolled_back": "was rolled back", "aborted": "was aborted"}.get(seen.outcome, "brought it once")
    return f"{what}: deployment {seen.deployment} {ended}"


def traces(repository: Path) -> tuple[tuple[int, ...], ...]:
    """What changes when a branch or a setting of the repository does: the state of a few files, without git."""
    branches = repository / "refs" / "heads"
    places = [repository / "config", repository / "packed-refs", repository / "reftable" / "tables.list"]
    places += [Path(directory, name) for directory, _, files in os.walk(branches) for name in files]
    found: list[tuple[int, ...]] = []
    for place in places:
        with contextlib.suppress(OSError):
            there = place.stat()
            found.append((there.st_ino, there.st_mtime_ns, there.st_size))
    return tuple(found)
