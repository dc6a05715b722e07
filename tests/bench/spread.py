"""Many measurements of one thing, summarised in three numbers."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["Spread", "spread"]


class Spread(msgspec.Struct, frozen=True):
    """Median, 99th percentile and worst, in the unit that they were measured in."""

    p50: float
    p99: float
    max: float


def spread(samples: Iterable[float]) -> Spread:
    """The spread of `samples`, which must not be empty."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return Spread(
        round(ordered[len(ordered) // 2], 3),
        round(ordered[min(last, len(ordered) * 99 // 100)], 3),
        round(ordered[last], 3),
    )
