"""Order books: a snapshot, and then changes with numbers and checksums."""

import zlib
from collections.abc import Iterable

import msgspec

Level = tuple[int, int]
"""A price in cents, and the size offered there; 0 removes the price."""

DEPTH = 10
"""How many levels of each side the exchange's checksum covers."""


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    symbol: str
    n: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Delta(msgspec.Struct, frozen=True, tag="delta"):
    """A change of a book; `n` is one more than the number of the change before it."""

    symbol: str
    n: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    checksum: int


class Book(msgspec.Struct, frozen=True):
    """Both sides, best price first, as of change number `n`."""

    n: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    def apply(self, delta: Delta) -> "Book":
        return Book(
            delta.n,
            _changed(self.bids, delta.bids, best_is_highest=True),
            _changed(self.asks, delta.asks, best_is_highest=False),
        )

    @property
    def checksum(self) -> int:
        return checksum(self.bids, self.asks)


def checksum(bids: Iterable[Level], asks: Iterable[Level]) -> int:
    text = "|".join(f"{price}:{size}" for side in (bids, asks) for price, size in list(side)[:DEPTH])
    return zlib.crc32(text.encode())


def _changed(side: Iterable[Level], changes: Iterable[Level], *, best_is_highest: bool) -> tuple[Level, ...]:
    sizes = dict(side)
    sizes.update(changes)
    return tuple(sorted(((price, size) for price, size in sizes.items() if size), reverse=best_is_highest))
