"""The health of the inbox: an event when it loses events or gives up numbers of a stream, and when that is over.

Each report of a worker has what its inbox has lost so far. While this grows, nothing more is published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ...protocol.duration import SECOND, show
from ...protocol.events import InboxProblemChanged
from ...protocol.link import Inboxed, Report
from ..system.event_bus import EventBus
from ..system.format import count
from ..workers.registry import Member

__all__ = ["QUIET", "InboxHealth"]

QUIET = 10 * SECOND
"""A problem is over when nothing more was lost for so long. So one that comes and goes is published rarely."""

_Kind = Literal["full", "gap"]


@dataclass
class _Losses:
    """What was lost since a problem began, and when most recently."""

    refused: int = 0
    dropped: int = 0
    missing: int = 0
    latest: int = 0


class InboxHealth:
    """Publishes each change to `bus`; `mono` returns CLOCK_MONOTONIC, ns."""

    def __init__(self, bus: EventBus, mono: Callable[[], int]) -> None:
        self._bus = bus
        self._mono = mono
        self._present: dict[_Kind, _Losses] = {}

    def reported(self, member: Member, before: Report | None, report: Report) -> None:
        """Handle a worker's report on its inbox. `before` is its previous one.

        A follower's losses are not the bot's. Those of an adopted worker before its first report here are not news.
        """
        now = report.inboxed
        then = before.inboxed if before is not None else now
        if now is None or then is None or report.role not in ("leading", "yielding"):
            return
        self._look(member, now, "full", now.refused - then.refused, now.dropped - then.dropped, 0)
        self._look(member, now, "gap", 0, 0, now.missing - then.missing)

    def _look(
        self, member: Member, inbox: Inboxed, kind: _Kind, refused: int, dropped: int, missing: int
    ) -> None:
        known = self._present.get(kind)
        if not (refused or dropped or missing):
            if known is not None and self._mono() - known.latest >= QUIET:
                del self._present[kind]
                self._tell(member, inbox, kind, "over", known)
            return
        losses = known or _Losses()
        losses.refused += refused
        losses.dropped += dropped
        losses.missing += missing
        losses.latest = self._mono()
        if known is None:
            self._present[kind] = losses
            self._tell(member, inbox, kind, "began", losses)

    def _tell(
        self, member: Member, inbox: Inboxed, kind: _Kind, state: Literal["began", "over"], losses: _Losses
    ) -> None:
        self._bus.tell(
            InboxProblemChanged(
                worker=member.worker,
                release=member.release,
                kind=kind,
                state=state,
                text=_began(inbox, kind, losses) if state == "began" else _over(inbox, kind, losses),
                refused=losses.refused,
                dropped=losses.dropped,
                missing=losses.missing,
            )
        )


def _began(inbox: Inboxed, kind: _Kind, losses: _Losses) -> str:
    if kind == "gap":
        return f"numbers of an event stream did not come within hold_events: {_amount(inbox, losses)}"
    bounds = f"at most {inbox.most_events:,} events and {inbox.most_bytes:,} bytes wait"
    return f"the inbox is full ({bounds}): {_amount(inbox, losses)}"


def _over(inbox: Inboxed, kind: _Kind, losses: _Losses) -> str:
    what = "no number of an event stream was missing" if kind == "gap" else "the inbox has kept all events"
    return f"{what} for {show(QUIET)}; before that: {_amount(inbox, losses)}"


def _amount(inbox: Inboxed, losses: _Losses) -> str:
    parts = [
        f"{count(losses.refused, 'event')} refused" if losses.refused else "",
        f"{count(losses.dropped, 'event')} dropped" if losses.dropped else "",
        f"{count(losses.missing, 'number')} given up, last {inbox.gap}" if losses.missing else "",
    ]
    return ", ".join(part for part in parts if part)
