"""The keys of applied events: what comes again under one of them is dropped. Their number and age are bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

__all__ = ["AppliedKeys"]


class AppliedKeys:
    """At most `limit` keys, each for `age` ns after its turn."""

    def __init__(self, limit: int, age: int) -> None:
        self.limit = limit
        self.forgotten = 0
        """Keys that are no longer remembered."""
        self.at: OrderedDict[str, int] = OrderedDict()
        """The keys, oldest first, with the wall clock of their turn."""
        self._age = age

    def restore(self, memory: Iterable[tuple[str, int]]) -> None:
        """Begin with another worker's keys."""
        self.at = OrderedDict(memory)

    def remember(self, keys: Iterable[str], at: int) -> None:
        """These were applied in the turn at `at`."""
        applied, limit = self.at, self.limit
        for key in keys:
            if key in applied:
                applied.move_to_end(key)
            applied[key] = at
        while len(applied) > limit:
            applied.popitem(last=False)
            self.forgotten += 1
        oldest = at - self._age
        while applied and applied[next(iter(applied))] < oldest:
            applied.popitem(last=False)
            self.forgotten += 1
