"""The section [feeds]: each feed of the bot is a table in it."""

from __future__ import annotations

import re

import msgspec

from ...protocol.feed_assignment import BUFFER
from ...protocol.feed_named import STALE_AFTER
from ..system.text import NAME_RULE, is_valid_name
from .toml_table import TomlTable, shown

__all__ = ["FeedSettings", "read_feeds"]

_LEAST_BUFFER = 64 * 1024
_MOST_BUFFER = 1024**3
_TARGET = re.compile(r"(?:[^\W\d]\w*\.)*[^\W\d]\w*:[^\W\d]\w*")


class FeedSettings(msgspec.Struct, frozen=True):
    """One feed."""

    name: str
    run: str
    """MODULE:FUNCTION."""
    stale_after: int = STALE_AFTER
    """The time without an event after which it is stale, ns; 0 for never."""
    buffer: int = BUFFER
    """The size of its replay buffer, bytes."""

    @property
    def digest(self) -> str:
        """What a process of the feed depends on: it is restarted when this changes."""
        return f"{self.run} {self.buffer}"


def read_feeds(table: TomlTable) -> tuple[FeedSettings, ...]:
    """The feeds in the section. Raises `ConfigError`."""
    return tuple(_feed(table, name) for name in table.keys)


def _feed(feeds: TomlTable, name: str) -> FeedSettings:
    if not is_valid_name(name):
        raise feeds.error(name, f"is not a valid name for a feed: expected {NAME_RULE}")
    if not feeds.is_table(name):
        raise feeds.error(name, f'expected a table, as [feeds.{name}] with run = "feeds:{name}"')
    table = feeds.table(name)
    table.allow("run", "stale_after", "buffer")
    run = table.text("run")
    if run is None:
        raise table.error(
            "run", f'is missing: name the function, as in run = "feeds:{name}" (MODULE:FUNCTION)'
        )
    if not _TARGET.fullmatch(run):
        raise table.error("run", f'is {shown(run)}: expected MODULE:FUNCTION, as in "feeds:{name}"')
    return FeedSettings(
        name,
        run,
        0 if table.is_text("stale_after", "never") else table.span("stale_after", STALE_AFTER),
        table.amount("buffer", BUFFER, _LEAST_BUFFER, _MOST_BUFFER),
    )
