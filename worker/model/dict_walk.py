"""Walking through a large dict a few keys at a time, while it goes on changing in between.

A list of a million keys takes 10 to 100 ms to make, in which no turn can begin, and a Python iterator fails when the
dict grows. So this uses `PyDict_Next` of the C API. It takes a position, an index into the dict's own array of entries,
and so can continue at any time. A key that is added comes after all positions, and a key that is deleted leaves a hole,
so a position stays valid with one exception: a full dict compacts its entries. The last key of the walk is then no
longer at its position, which reveals the change; its new position is where the walk continues.

The dict reports keys that are added and deleted meanwhile. Added keys are left out, and they come after all others: the
caller gets those in another way, in the order in which they were added.
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

    Between two calls of `take` the dict may change, as long as each change is reported by `added` or `deleted`.
    """

    __slots__ = ("__weakref__", "_added", "_at", "_at_place", "_key", "_key_place", "_recent", "_rows")

    def __init__(self, rows: dict[Any, Any]) -> None:
        self._rows = rows
        self._added: set[Any] = set()
        """Present keys that were added since."""
        self._recent: dict[Any, int] = {}
        """The keys of the last `take` that were not deleted since, each with the position after it."""
        self._at, self._key = ctypes.c_ssize_t(0), ctypes.py_object()
        self._at_place, self._key_place = ctypes.addressof(self._at), ctypes.addressof(self._key)

    def added(self, key: Any) -> None:
        """Report that a new key was added."""
        self._added.add(key)

    def deleted(self, key: Any) -> None:
        """Report that a key was deleted."""
        self._recent.pop(key, None)
        self._added.discard(key)

    def take(self, most: int) -> list[Any]:
        """Return the next keys, at most `most`; none at the end. Occasionally some of the keys before come again."""
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
        """Make sure that the position is the one after the keys of the last `take`."""
        at = self._at
        if not at.value:
            return
        if not self._recent:
            # All of them were deleted, so the position cannot be verified: begin again.
            at.value = 0
            return
        key = next(reversed(self._recent))
        at.value = self._recent[key] - 1
        if _next(self._rows, self._at_place, self._key_place, None) and self._key.value is key:
            # Continue right after it: entries behind it may have moved to where deleted keys of the last `take` were.
            return
        # The entries were compacted: an entry's position is at least its index among the present keys.
        at.value = operator.indexOf(self._rows, key)
        while _next(self._rows, self._at_place, self._key_place, None) and self._key.value is not key:
            pass
