"""Tells the log what the inbox could not keep, or put in order: soon after it begins, and then now and then."""

from __future__ import annotations

from collections.abc import Callable

from ..io.output import report
from ..model.inbox import Inbox

__all__ = ["InboxLog"]

_EVERY = 10_000_000_000


class InboxLog:
    """Looks at `inbox`; `mono` returns CLOCK_MONOTONIC, ns."""

    def __init__(self, inbox: Inbox, mono: Callable[[], int]) -> None:
        self._inbox = inbox
        self._mono = mono
        self._told = [0, 0, 0, 0]
        self._not_before = 0

    def look(self) -> None:
        """Write a line for each count that has grown since the last one."""
        inbox = self._inbox
        now = [inbox.refused, inbox.dropped, inbox.missing, inbox.renumbered]
        if now == self._told or self._mono() < self._not_before:
            return
        refused, dropped, missing, renumbered = (
            count - before for count, before in zip(now, self._told, strict=True)
        )
        self._told = now
        self._not_before = self._mono() + _EVERY
        full = (
            f"the inbox was full (at most {inbox.bound.events:,} events and {inbox.most_bytes:,} bytes wait)"
        )
        if refused:
            report(f"neverblink: {full}: {refused:,} events were refused, `put` raised InboxFull")
        if dropped:
            report(f"neverblink: {full}: {dropped:,} events were dropped")
        gap, item = inbox.last_gap, inbox.last_renumbered
        if missing and gap is not None:
            report(
                f"neverblink: {missing:,} numbers of event streams did not come within hold_events, and were given up: "
                f"last {gap.first} to {gap.last} of stream {gap.stream!r}"
            )
        if renumbered and item is not None:
            report(
                f"neverblink: {renumbered:,} events were dropped, because an event with their number was applied "
                f"before: last event {item.key!r}, number {item.n} of stream {item.stream!r}. Where a source begins to "
                "count anew, name another stream"
            )
