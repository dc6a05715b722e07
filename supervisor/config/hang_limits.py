"""[watchdog] in the configuration: how long a leader may do nothing."""

from __future__ import annotations

import msgspec

__all__ = ["HangLimits"]


class HangLimits(msgspec.Struct, frozen=True):
    """How long a leader may do nothing, ns."""

    hang_after: int = 10_000_000_000
    """When it is stopped, or sleeps, computes nothing and says nothing."""
    stuck_after: int = 60_000_000_000
    """When it works at something: computes, waits for a disk, is in a decision, or still reports."""
