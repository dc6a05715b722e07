"""[notify] in the configuration: who is told of what."""

from __future__ import annotations

import msgspec

from .note import USUAL, Kind
from .outbox import Pace

__all__ = ["Settings", "Target"]


class Target(msgspec.Struct, frozen=True):
    """Somebody who is told. `url` or `url_file` says where, and may have `${NAME}` in it."""

    name: str
    url: str = ""
    url_file: str = ""
    """An absolute path."""
    events: tuple[Kind, ...] = USUAL

    def wants(self, kinds: tuple[Kind, ...]) -> bool:
        return not set(self.events).isdisjoint(kinds)


class Settings(msgspec.Struct, frozen=True):
    targets: tuple[Target, ...] = ()
    pace: Pace = Pace()
