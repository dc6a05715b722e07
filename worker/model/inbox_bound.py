"""The bound of the inbox: how much may wait in it, what happens at the bound, and the errors of `put`."""

from __future__ import annotations

from typing import Literal

import msgspec

from ...protocol import size
from ...protocol.errors import NeverblinkError

__all__ = ["MOST_BYTES", "EventError", "InboxBound", "InboxFull", "WhenFull"]

WhenFull = Literal["refuse", "drop-oldest", "keep-latest"]

MOST_BYTES = 48 * 1024 * 1024
"""The largest bound of an inbox in bytes: all that waits has to go to a successor in one message."""


class EventError(NeverblinkError):
    """The event cannot be sent between processes."""

    def __init__(self, key: object, problem: str) -> None:
        super().__init__(f"event {key!r}: {problem}")
        self.key = key


class InboxFull(EventError):
    """The inbox has no room for the event, which was not taken."""


class InboxBound(msgspec.Struct, frozen=True):
    """How much may wait in the inbox, and what happens to an event that finds it full.

        inbox_bound = InboxBound(events=50_000, bytes="16MiB", when_full="drop-oldest")

    `events` is a count, `bytes` a size of at most 48MiB. `when_full` is "refuse" (`put` raises `InboxFull`),
    "drop-oldest", or "keep-latest" (of each `stream` only the newest event is kept; one without a stream is refused).
    """

    events: int = 200_000
    bytes: int | str = "32MiB"
    when_full: WhenFull = "refuse"

    @property
    def size(self) -> int:
        """`bytes` as a number. Raises `SizeError`."""
        return size.parse(self.bytes) if isinstance(self.bytes, str) else self.bytes
