"""How many messages a target of [notify] is sent, and how long a failed one is tried again."""

from __future__ import annotations

import msgspec

from ...protocol.duration import SECOND

__all__ = ["NotifyPace"]


class NotifyPace(msgspec.Struct, frozen=True):
    """How much and how long, ns."""

    burst: int = 5
    per: int = 60 * SECOND
    retry_for: int = 900 * SECOND
