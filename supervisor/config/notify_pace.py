"""How many messages are sent to a target of [notify], and for how long a failed one is retried."""

from __future__ import annotations

import msgspec

from ...protocol.duration import SECOND

__all__ = ["NotifyPace"]


class NotifyPace(msgspec.Struct, frozen=True):
    """How much and how long, ns."""

    burst: int = 5
    per: int = 60 * SECOND
    retry_for: int = 900 * SECOND
