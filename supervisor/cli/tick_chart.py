"""The tick strip as characters: one column a tick, or as many ticks as make a quarter of a second.

How late and how long is drawn on a logarithmic scale, because what matters lies between microseconds and whole ticks. A
missed tick is a visible gap. The leader, and where it changed, are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import msgspec

from ..audit.recent_ticks import LeaderChange, Seen

__all__ = ["Column", "chart", "level", "mark_of"]

_LEAST = 10_000
"""What is less than this (ns) is drawn as nothing to speak of."""
_COLUMN = 250_000_000
"""A column is at least so long."""
_MOST_HOLES = 8


class Column(msgspec.Struct, frozen=True):
    """Ticks of one worker, of which the worst is shown. With no `worker` it is a hole."""

    worker: str
    late: int = 0
    took: int = 0
    skipped: int = 0
    """Ticks that the bot left out, by its own overrun."""
    change: LeaderChange | None = None
    """What happened just before."""


def chart(seen: Sequence[Seen], interval: int, width: int) -> list[Column]:
    """The last `width` columns. `interval` is that of the ticks, ns, 0 when it is not known."""
    per = max(1, -(-_COLUMN // interval)) if interval > 0 else 1
    change: LeaderChange | None = None
    columns: list[Column] = []
    group: tuple[int, int] | None = None
    # More than that many can't be shown, whatever they are.
    for one in seen[-(per + 1) * width :]:
        if isinstance(one, LeaderChange):
            change, group = one, None
            continue
        if one.missed:
            columns += [Column("")] * min(one.missed, _MOST_HOLES)
            group = None
        if group == (one.epoch, one.seq // per):
            last = columns[-1]
            columns[-1] = Column(
                last.worker,
                max(last.late, one.late),
                max(last.took, one.took),
                last.skipped + one.skipped,
                last.change,
            )
        else:
            columns.append(Column(one.worker, one.late, one.took, one.skipped, change))
            change = None
        group = (one.epoch, one.seq // per)
    return columns[-width:]


def level(ns: int, interval: int, levels: int) -> int:
    """How high a stretch of time is drawn, 1 to `levels`; a whole interval is the highest."""
    most = max(interval, 1_000_000)
    if ns <= _LEAST:
        return 1
    if ns >= most:
        return levels
    return 1 + int((levels - 1) * log(ns / _LEAST) / log(most / _LEAST))


def mark_of(change: LeaderChange) -> str:
    """How a change of leader is marked: what it was, who leads since, and the deployment's number."""
    # A leader that recovered from a dead leader's journal is a first one with a predecessor.
    cause = "failover" if change.cause == "first" and change.before else change.cause
    sign = {"handoff": "▲", "takeback": "↩", "failover": "✖", "first": "●"}[cause]
    # Else the number would be that of the deployment that once brought this worker.
    number = f" #{change.deployment}" if cause == "handoff" and change.deployment else ""
    return f"{sign}{change.worker}{number}"
