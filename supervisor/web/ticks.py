"""Publishes the recent ticks as they come, from the journal's files: see `audit.recent_ticks`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec

from ..audit.recent_ticks import LeaderChange, Place, RecentTicks, Seen
from ..audit.recent_ticks import RecentTick as Found

__all__ = ["MOST", "LeadSeen", "TickFeed", "TickSeen", "sorted_out", "together"]

MOST = 20_000
_LOOK_EVERY = 0.2
_AT_ONCE = 40
"""Of more ticks than this at a time, neighbours are put together before they are told."""


class TickSeen(msgspec.Struct, frozen=True, array_like=True):
    """One tick that ran, or several in a row of one leader, of which the worst is told. Times in ns."""

    seq: int
    """The (last) one's index."""
    count: int
    """How many."""
    due: int
    """When the last one was due, wall clock."""
    late: int
    """How much later it began."""
    took: int
    """How long it ran."""
    epoch: int
    """Under which lease."""
    skipped: int
    """Indices before the (first) one that did not run, by the bot's own overrun,"""
    missed: int
    """and because no worker could run them."""


class LeadSeen(msgspec.Struct, frozen=True):
    """From here on `worker` leads."""

    epoch: int
    at: int
    """Wall clock, ns; 0 when it was before all that is remembered."""
    seq: int
    """The last tick before."""
    worker: str
    release: str
    cause: str
    before: str
    deployment: int
    blackout: int
    """How long no worker could tick, ns; 0 when that is not known."""


class TickFeed:
    """Follows `strip` for as long as it runs; `tell(ticks, leads)` is told what is new."""

    def __init__(self, strip: RecentTicks, tell: Callable[[list[TickSeen], list[LeadSeen]], None]) -> None:
        self._strip = strip
        self._tell = tell

    def seen(self, limit: int) -> tuple[list[TickSeen], list[LeadSeen]]:
        """The last `limit` ticks, and all who led in them or since."""
        ticks, leads = sorted_out(self._strip.since())
        ticks = ticks[-limit:]
        oldest = min((tick.epoch for tick in ticks), default=0)
        return ticks, [lead for lead in leads if lead.epoch >= oldest]

    async def run(self) -> None:
        """Never returns."""
        await asyncio.to_thread(self._strip.look)
        place = _end(self._strip.since(), (-1, -1))
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if not await asyncio.to_thread(self._strip.look):
                continue
            found = self._strip.since(place)
            place = _end(found, place)
            ticks, leads = sorted_out(found)
            self._tell(ticks, [lead for lead in leads if lead.at])


def sorted_out(found: Iterable[Seen]) -> tuple[list[TickSeen], list[LeadSeen]]:
    """The ticks, and who led in them: also who came to lead before the first of them."""
    ticks: list[TickSeen] = []
    leads: dict[int, LeadSeen] = {}
    for tick in found:
        if isinstance(tick, LeaderChange):
            leads[tick.epoch] = LeadSeen(
                tick.epoch,
                tick.at,
                tick.seq,
                tick.worker,
                tick.release,
                tick.cause,
                tick.before,
                tick.deployment,
                tick.blackout,
            )
        else:
            ticks.append(_row(tick))
            if tick.epoch not in leads:
                leads[tick.epoch] = LeadSeen(tick.epoch, 0, tick.seq, tick.worker, tick.release, "", "", 0, 0)
    return ticks, list(leads.values())


def together(ticks: Sequence[TickSeen], most: int = _AT_ONCE) -> list[TickSeen]:
    """The same ticks in at most about `most` pieces: neighbours of one leader with nothing lost between them become
    one, with the worst of each. A hole stays a hole."""
    if len(ticks) <= most:
        return list(ticks)
    size = -(-len(ticks) // most)
    rows: list[TickSeen] = []
    for tick in ticks:
        last = rows[-1] if rows else None
        if last is None or last.count >= size or tick.skipped or tick.missed or tick.epoch != last.epoch:
            rows.append(tick)
        else:
            rows[-1] = TickSeen(
                tick.seq,
                last.count + tick.count,
                tick.due,
                max(last.late, tick.late),
                max(last.took, tick.took),
                tick.epoch,
                last.skipped,
                last.missed,
            )
    return rows


def _row(tick: Found) -> TickSeen:
    return TickSeen(tick.seq, 1, tick.due, tick.late, tick.took, tick.epoch, tick.skipped, tick.missed)


def _end(found: Sequence[Seen], place: Place) -> Place:
    return (found[-1].epoch, found[-1].number) if found else place
