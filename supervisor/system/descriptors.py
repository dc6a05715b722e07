"""The limit on this process's open file descriptors, and how many it has left."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

__all__ = ["left", "limit", "raise_limit"]

_MOST = 1 << 20
"""Some container engines set a hard limit of 2^30, and programs that close every possible descriptor take hours."""
_OPEN = "/proc/self/fd"


def raise_limit() -> int:
    """Let this process open as many descriptors as it may at all; return the limit it had, for what it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft


def limit() -> int:
    """How many descriptors this process may have open at once."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def left() -> int:
    """How many descriptors this process can still open."""
    try:
        # The kernel says the number from Linux 6.2 on.
        count = os.stat(_OPEN).st_size or len(os.listdir(_OPEN))
    except OSError:
        return 0
    return max(0, limit() - count)
