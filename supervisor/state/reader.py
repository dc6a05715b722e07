"""Answers what is asked about the bot's state: shows it, compares two points of it, exports it.

Every surface asks here: the command line on the bot's machine, the supervisor for its sockets, and the web process. It
reads the journal's files, so it works without a supervisor too, and runs no code of the bot's. That takes as long as it
takes to read a segment or two: where there is a loop, call it in a thread.
"""

from __future__ import annotations

import time
from typing import Any, cast

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.frame import Schema
from ...protocol.journal import JournalError
from ...protocol.state.diff import FieldDiff, RowsDiff, ValueChange, state_diff, type_words
from ...protocol.state.path import BadPath, parse, shown
from ...protocol.state.typed_json import inside, key_text
from ...protocol.wire import UNDECODABLE, reason
from ..release.releases import NoSuchRelease, ReleaseStore
from ..store.state_dir import Home
from ..system.errors import Refusal
from .point import BadPoint, ReleasePoint, parse_point
from .state_at import StateAt, StateNotKnown, state_at

__all__ = ["MOST_ITEMS", "StateComparison", "StateField", "StatePage", "StatePoint", "StateReader"]

MOST_ITEMS = 10_000
"""How many items are answered at once."""
_LARGEST_FIELD = 2048
"""A larger value is left out of the list of fields, bytes of JSON."""


class StatePoint(msgspec.Struct, frozen=True):
    """The point that a state is of: after frame `number`. Times are wall ns."""

    number: int
    seq: int | None
    """The last tick that had run, null before the first."""
    at: int
    """When that frame ended; 0 when it is not known."""
    epoch: int
    worker: str
    """Who led; "" when the bot was stopped."""
    release: str
    """Which release led; "" when that is not known."""
    schema: Schema
    paused: bool
    timers: int


class StateField(msgspec.Struct, frozen=True):
    """A field of the state. `value` is null where it is too large to be listed, or a table."""

    name: str
    type: str
    value: Any
    items: int | None
    """How many rows or items it has; null when it has none."""
    left_out: bool = False
    """Ask for its path to see it."""


class StatePage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is at a path: all fields, a page of items as [key, value] pairs, or a value."""

    point: StatePoint
    path: str
    type: str = ""
    fields: list[StateField] | None = None
    items: list[list[Any]] | None = None
    offset: int = 0
    total: int | None = None
    """How many items there are."""
    value: Any = None


class StateComparison(msgspec.Struct, frozen=True):
    """What differs between two points. `changes` are the first ones of `total`."""

    a: StatePoint
    b: StatePoint
    fields: list[FieldDiff]
    tables: list[RowsDiff]
    changes: list[ValueChange]
    total: int


class StateReader:
    """Reads the state of the bot in `home`. Every method raises `Refusal`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def find(self, at: str) -> StateAt:
        """The state at a point, as a person writes it."""
        try:
            return state_at(self._home.journal, parse_point(at, time.time_ns(), self._release))
        except BadPoint as problem:
            raise Refusal("bad-input", problem.message) from None
        except StateNotKnown as problem:
            raise Refusal("not-found", problem.message) from None
        except JournalError as problem:
            raise Refusal("failed", problem.message) from None
        except UNDECODABLE as problem:
            raise Refusal(
                "failed", f"the state cannot be read without the bot's code: {reason(problem)}"
            ) from None

    def show(self, path: str, at: str, offset: int = 0, limit: int = 100) -> StatePage:
        """What is at `path`, at the point `at`; of many items those from `offset` on, at most `limit`."""
        _check(offset, limit)
        try:
            parts = parse(path)
            found = self.find(at)
            return _page(found, parts, offset, limit)
        except BadPath as problem:
            raise Refusal("not-found", problem.message) from None
        except UNDECODABLE as problem:
            raise Refusal(
                "failed", f"the state cannot be read without the bot's code: {reason(problem)}"
            ) from None

    def compare(self, a: str, b: str, limit: int = 100) -> StateComparison:
        """What differs between the state at `a` and at `b`."""
        _check(0, limit)
        before, after = self.find(a), self.find(b)
        found = state_diff(before.values, after.values, limit)
        return StateComparison(
            point_of(before), point_of(after), found.fields, found.tables, found.changes, found.total
        )

    def export(self, at: str) -> dict[str, Any]:
        """The whole state at a point as one JSON object, with its schema: what `state import` takes back."""
        found = self.find(at)
        return {
            "neverblink": "state",
            "format": 1,
            "point": msgspec.to_builtins(point_of(found)),
            "types": found.values.types,
            "state": found.values.look(()),
            "timers": {name: msgspec.structs.asdict(one) for name, one in found.timers.items()},
        }

    def _release(self, said: str) -> ReleasePoint | None:
        store = ReleaseStore(self._home.releases)
        try:
            release = store.find(said)
        except NoSuchRelease:
            return None
        except NeverblinkError as problem:
            raise Refusal("bad-input", problem.message) from None
        except OSError:
            return None
        return ReleasePoint(release.id, release.id == store.current())


def point_of(found: StateAt) -> StatePoint:
    """What is said of a point."""
    return StatePoint(
        found.number,
        found.seq if found.seq >= 0 else None,
        found.at or found.due,
        found.epoch,
        found.worker,
        found.release,
        found.schema,
        found.paused,
        len(found.timers),
    )


def _check(offset: int, limit: int) -> None:
    if offset < 0 or not 1 <= limit <= MOST_ITEMS:
        raise Refusal(
            "bad-input", f"offset {offset}, limit {limit}: expected 0 or more, and 1 to {MOST_ITEMS:,}"
        )


def _page(found: StateAt, path: tuple[Any, ...], offset: int, limit: int) -> StatePage:
    values, point = found.values, point_of(found)
    if not path and not values.single:
        return StatePage(
            point, "", fields=[_field(found, name) for name in values.names], total=len(values.names)
        )
    about = values.types
    for part in path:
        about = inside(about, values.types, part)
    words = type_words(about, values.types) if values.types else ""
    name = key_text(path[0]) if path else ""
    if len(path) == 1 and name in values.tables:
        rows = values.rows(name, offset, limit)
        return StatePage(point, shown(path), words, items=rows, offset=offset, total=len(values.tables[name]))
    value = values.look(path)
    items = _items(value)
    if items is None or (len(items) <= limit and not offset):
        return StatePage(point, shown(path), words, value=value, total=None if items is None else len(items))
    page = items[offset : offset + limit]
    return StatePage(point, shown(path), words, items=page, offset=offset, total=len(items))


def _field(found: StateAt, name: str) -> StateField:
    values = found.values
    words = type_words(values.about(name), values.types) if values.types else ""
    if name in values.tables:
        return StateField(name, words, None, len(values.tables[name]))
    value = values.field(name)
    items = _items(value)
    count = None if items is None else len(items)
    if len(msgspec.json.encode(value)) > _LARGEST_FIELD:
        return StateField(name, words, None, count, left_out=True)
    return StateField(name, words, value, count)


def _items(value: Any) -> list[list[Any]] | None:
    """The parts of a list or a map, each with its key; None for what has none."""
    match value:
        case dict():
            fields = cast("dict[str, Any]", value)
            if fields.keys() == {"$map"}:
                return cast("list[list[Any]]", fields["$map"])
            return [[key, one] for key, one in fields.items()]
        case list():
            return [[at, one] for at, one in enumerate(cast("list[Any]", value))]
        case _:
            return None
