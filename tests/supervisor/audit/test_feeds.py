"""The audit of feeds: each number applied once, in order, and every hole reported."""

from __future__ import annotations

import pytest

from neverblink.protocol.feed_position import FeedRange
from neverblink.protocol.frame import NumberGap, Traffic

from .journal_builder import JournalBuilder
from .test_audit import judged, only, sound


def applied(builder: JournalBuilder, run: int, first: int, last: int, *gaps: NumberGap) -> None:
    builder.tick(traffic=Traffic(feeds=(FeedRange("trades", run, first, last),), gaps=gaps))


def test_numbers_that_follow_each_other_are_sound_over_restarts_of_the_feed() -> None:
    builder = JournalBuilder().begin()
    applied(builder, 5, 1, 3)
    applied(builder, 5, 4, 4)
    applied(builder, 9, 1, 2)
    events = sound(builder).events
    assert (events.received, events.applied) == (6, 6)


def test_a_hole_that_was_reported_is_sound() -> None:
    builder = JournalBuilder().begin()
    applied(builder, 5, 1, 3)
    applied(builder, 5, 7, 8, NumberGap("trades", 4, 6))
    assert sound(builder).events.missing == 3


@pytest.mark.parametrize(
    ("run", "first", "last", "says"),
    [
        (5, 3, 4, "was applied after number 3 of run 5"),
        (4, 9, 9, "was applied after number 3 of run 5"),
        (5, 5, 5, "was applied, and 4 before it never was"),
    ],
)
def test_a_number_that_is_doubled_reordered_or_skipped_is_found(
    run: int, first: int, last: int, says: str
) -> None:
    builder = JournalBuilder().begin()
    applied(builder, 5, 1, 3)
    applied(builder, run, first, last)
    only(judged(builder), 7, f"feed trades: number {first} of run {run} {says}")
