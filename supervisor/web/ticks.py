"""The recent ticks: a bounded ring of them, told on as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import msgspec

from .trail import Lead, Tick, Trail

__all__ = ["Seen", "Ticks", "together"]

_MOST = 20_000
_MOST_LEADS = 500
_LOOK_EVERY = 0.2
_AT_ONCE = 40
"""Of more ticks than this at a time, neighbours are put together before they are told."""


class Seen(msgspec.Struct, frozen=True):
    """The ticks that are remembered, oldest first, and who led when."""

    ticks: list[Tick]
    leads: list[Lead]


class Ticks:
    """Follows `trail` for as long as it runs; `tell(ticks, leads)` is told what is new."""

    def __init__(self, trail: Trail, tell: Callable[[list[Tick], list[Lead]], None]) -> None:
        self._trail = trail
        self._tell = tell
        self._ticks: deque[Tick] = deque(maxlen=_MOST)
        self._leads: deque[Lead] = deque(maxlen=_MOST_LEADS)

    def seen(self, limit: int) -> Seen:
        """The last `limit` ticks, and all who led in them or since."""
        ticks = list(islice(self._ticks, max(0, len(self._ticks) - limit), None))
        epochs = {tick.epoch for tick in ticks}
        oldest = min(epochs, default=0)
        return Seen(ticks, [lead for lead in self._leads if lead.epoch >= oldest])

    async def run(self) -> None:
        """Never returns."""
        try:
            ticks, leads = await asyncio.to_thread(self._read)
            self._keep(ticks, leads)
            while True:
                await asyncio.sleep(_LOOK_EVERY)
                ticks, leads = await asyncio.to_thread(self._read)
                if ticks or leads:
                    self._keep(ticks, leads)
                    self._tell(ticks, leads)
        finally:
            self._trail.close()

    def _read(self) -> tuple[list[Tick], list[Lead]]:
        # A journal may hold far more than is remembered.
        ticks: deque[Tick] = deque(maxlen=_MOST)
        leads: deque[Lead] = deque(maxlen=_MOST_LEADS)
        for found in self._trail.read():
            if isinstance(found, Tick):
                ticks.append(found)
            else:
                leads.append(found)
        return list(ticks), list(leads)

    def _keep(self, ticks: Iterable[Tick], leads: Iterable[Lead]) -> None:
        self._ticks.extend(ticks)
        self._leads.extend(leads)


def together(ticks: Sequence[Tick], most: int = _AT_ONCE) -> list[Tick]:
    """The same ticks in at most about `most` pieces: neighbours of one leader with nothing lost between them become
    one, with the worst of each. A hole stays a hole."""
    if len(ticks) <= most:
        return list(ticks)
    size = -(-len(ticks) // most)
    told: list[Tick] = []
    for tick in ticks:
        last = told[-1] if told else None
        if last is None or last.count >= size or tick.lost or tick.epoch != last.epoch:
            told.append(tick)
        else:
            told[-1] = Tick(
                tick.seq,
                last.count + tick.count,
                tick.due,
                max(last.late, tick.late),
                max(last.took, tick.took),
                tick.epoch,
                last.lost,
            )
    return told
