"""What runs before git tidies up a repository by itself, after a push: `git gc --auto`.

Git does that as the user who pushed. Where root has pushed into a user's repository, packs and refs would be root's.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..release.git import GitError, ask
from ..system.ownership import act_as_owner_of

__all__ = ["tidy_up"]


def tidy_up(repository: Path) -> int:
    """Return 0 if git may go on; as root, tidy up as the owner of the repository instead, and return 1."""
    if not act_as_owner_of(repository):
        return 0
    with contextlib.suppress(GitError):
        ask(repository, "gc", "--auto", "--quiet")
    return 1
