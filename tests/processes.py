"""Waiting for processes that are not children of the test."""

from __future__ import annotations

import os
import select

__all__ = ["wait_for_end"]


def wait_for_end(pid: int, within: float = 30) -> None:
    """Wait until the process with this pid has ended. It may stay a zombie until its parent reaps it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = select.select([fd], [], [], within)
        assert readable, f"pid {pid} lives"
    finally:
        os.close(fd)
