"""Walking through a large dict a few keys at a time, while it goes on changing in between.

A list of a million keys takes 10 to 100 ms to make, in which no turn can begin, and a Python iterator ends when the
dict grows. So this uses C's way through a dict, `PyDict_Next`: it takes a position, which is an index into the dict's
own array of entries, and so goes on from wherever it was. What is added comes after all positions, and what is deleted
leaves a hole, so a position stays valid, but for one case: a dict without room left compacts its entries. That shows
by the key that was walked over last, which is then no longer at its position, and leads to its new one.

The dict reports what is added and deleted meanwhile. Keys that were added are left out, and come after all others: the
caller knows of those in another way, and in the order in which they were added.
"""

from __future__ import annotations

import ctypes
import operator
from typing import Any

__all__ = ["DictWalk"]

_next = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
    ("PyDict_Next", ctypes.pythonapi)
)


class DictWalk:
    """The keys that `rows` has now, in its order, without those that are deleted before their turn comes.

    Between two calls of `take` the dict may change in any way that is told by `added` and `deleted`.
    """

    __slots__ = ("__weakref__", "_added", "_at", "_at_place", "_key", "_key_place", "_recent", "_rows")

    def __init__(self, rows: dict[Any, Any]) -> None:
        self._rows = rows
        self._added: set[Any] = set()
        """Keys that are there and were added since."""
        self._recent: dict[Any, int] = {}
        """The keys walked over last that were not deleted since, and the place after each."""
        self._at, self._key = ctypes.c_ssize_t(0), ctypes.py_object()
        self._at_place, self._key_place = ctypes.addressof(self._at), ctypes.addressof(self._key)

    def added(self, key: Any) -> None:
        """A key was added to the dict that was not in it."""
        self._added.add(key)

    def deleted(self, key: Any) -> None:
        """A key was deleted."""
        self._recent.pop(key, None)
        self._added.discard(key)

    def take(self, most: int) -> list[Any]:
        """The next keys, at most so many; none when this is the end. Now and then some of those before come again."""
        rows, at, key, added = self._rows, self._at, self._key, self._added
        at_place, key_place = self._at_place, self._key_place
        if len(rows) == len(added):
            return []
        self._find_place()
        recent: dict[Any, int] = {}
        for _ in range(most):
            if not _next(rows, at_place, key_place, None):
                break
            found = key.value
            if found in added:
                break
            recent[found] = at.value
        if recent:
            self._recent = recent
        return list(recent)

    def _find_place(self) -> None:
        """Make sure that the place is the one after the keys walked over last."""
        at = self._at
        if not at.value:
            return
        if not self._recent:
            # All of them were deleted, and nothing tells whether the place is still right: from the beginning again.
            at.value = 0
            return
        place, key = at.value, next(reversed(self._recent))
        at.value = self._recent[key] - 1
        if _next(self._rows, self._at_place, self._key_place, None) and self._key.value is key:
            at.value = place
            return
        # Entries were moved together: before each there are at least those that come before it.
        at.value = operator.indexOf(self._rows, key)
        while _next(self._rows, self._at_place, self._key_place, None) and self._key.value is not key:
            pass
