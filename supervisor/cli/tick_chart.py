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
"""Times below this (ns) are drawn at the lowest level."""
_COLUMN = 250_000_000
"""The shortest time of a column, ns."""
_MOST_HOLES = 8


class Column(msgspec.Struct, frozen=True):
    """Ticks of one worker, drawn as their worst. Without a `worker` it is a gap."""

    worker: str
    late: int = 0
    took: int = 0
    skipped: int = 0
    """Ticks that the bot skipped because it overran."""
    change: LeaderChange | None = None
    """The change of leader just before."""


def chart(seen: Sequence[Seen], interval: int, width: int) -> list[Column]:
    """The last `width` columns. `interval` is that of the ticks, ns, 0 when it is not known."""
    per = max(1, -(-_COLUMN // interval)) if interval > 0 else 1
    change: LeaderChange | None = None
    columns: list[Column] = []
    group: tuple[int, int] | None = None
    # More entries than this never fit.
    for entry in seen[-(per + 1) * width :]:
        if isinstance(entry, LeaderChange):
            change, group = entry, None
            continue
        if entry.missed:
            columns += [Column("")] * min(entry.missed, _MOST_HOLES)
            group = None
        if group == (entry.epoch, entry.seq // per):
            last = columns[-1]
            columns[-1] = Column(
                last.worker,
                max(last.late, entry.late),
                max(last.took, entry.took),
                last.skipped + entry.skipped,
                last.change,
            )
        else:
            columns.append(Column(entry.worker, entry.late, entry.took, entry.skipped, change))
            change = None
        group = (entry.epoch, entry.seq // per)
    return columns[-width:]


def level(ns: int, interval: int, levels: int) -> int:
    """The height of a time, 1 to `levels`; a whole interval is the highest."""
    most = max(interval, 1_000_000)
    if ns <= _LEAST:
        return 1
    if ns >= most:
        return levels
    return 1 + int((levels - 1) * log(ns / _LEAST) / log(most / _LEAST))


def mark_of(change: LeaderChange) -> str:
    """The mark of a change of leader: its cause, the new leader, and the deployment's number."""
    # A leader that recovered from a dead leader's journal has the cause `first` and a predecessor.
    cause = "failover" if change.cause == "first" and change.before else change.cause
    sign = {"handoff": "▲", "takeback": "↩", "failover": "✖", "first": "●"}[cause]
    # For other causes the number is of the deployment that started this worker earlier.
    number = f" #{change.deployment}" if cause == "handoff" and change.deployment else ""
    return f"{sign}{change.worker}{number}"
