"""What a turn did to the state, and the shape the state is in.

A state is a handful of *cells* (the fields of its root, each encoded whole) and *tables* (of which only
touched rows travel). Everything here is already encoded: code that passes changes on need not know the bot's
types.
"""

from __future__ import annotations

import msgspec

__all__ = ["NOTHING", "Changes", "Schema"]


class Schema(msgspec.Struct, frozen=True, array_like=True):
    """The shape of a state: the version its author gave it, and a fingerprint of its field names and types.

    The version chooses migrations. The fingerprint tells two shapes of one version apart; it is the same on
    every Python that neverblink runs on. "" means unknown.
    """

    version: int
    fingerprint: str


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """What differs from the boundary before.

    `cells`: name to msgpack bytes; a state that is one value and no struct is the one cell "". `tables`: name
    to `(key, row)` in msgpack, in the order in which they are to be applied; a row of None is deleted.

    The cells are `bytes` and not `msgspec.Raw`: measured on ten cells and ten rows, `bytes` is made and
    decoded in a bit over half the time, encodes as fast, and does not keep the whole message it came in
    alive.
    """

    cells: dict[str, bytes]
    tables: dict[str, list[tuple[bytes, bytes | None]]]

    def __bool__(self) -> bool:
        return bool(self.cells or self.tables)


NOTHING = Changes({}, {})
"""A turn that changed nothing. Shared: do not fill it."""
