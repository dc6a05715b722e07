"""`python -m neverblink.supervisor.hook post-receive`: what the script in the repository's hooks runs."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from ..release.git import GitError, ask
from ..system.account import act_as_owner_of
from ..system.streams import complete_streams
from ..system.text import clean
from .receive import receive


def allow_gc(repository: Path) -> int:
    """Return 0 if git may run `git gc --auto` itself. As root, run it as the owner of the repository, and return 1.

    git runs it as the user who pushed: after a push by root, packs and refs would belong to root.
    """
    if not act_as_owner_of(repository):
        return 0
    with contextlib.suppress(GitError):
        ask(repository, "gc", "--auto", "--quiet")
    return 1


# The client may disconnect; the deployment goes on.
complete_streams()
if sys.argv[1] == "pre-auto-gc":
    sys.exit(allow_gc(Path.cwd()))
environment = {name: clean(value) for name, value in os.environ.items()}
sys.exit(receive(sys.argv[1], sys.stdin.buffer.read(), Path.cwd(), environment, sys.stdout))
