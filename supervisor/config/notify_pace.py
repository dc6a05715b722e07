"""How many messages a target of [notify] is sent, and how long a failed one is tried again."""

from __future__ import annotations

import msgspec

__all__ = ["NotifyPace"]

_SECOND = 1_000_000_000


class NotifyPace(msgspec.Struct, frozen=True):
    """How much and how long, ns."""

    burst: int = 5
    per: int = 60 * _SECOND
    retry_for: int = 900 * _SECOND
