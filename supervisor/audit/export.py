"""A journal as plain data: each frame, decision and snapshot as one object that any program can read.

The bot's state is decoded as far as possible without the bot's own types: numbers, text, lists and maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec

from ...protocol.frame import Frame, Item
from ...protocol.journal import Closed, Entry, Opened, Rows, Snapshot
from ...protocol.wire import UNDECODABLE
from .reader import Damage, Found
from .scope import Bound, Scope
from .walk import JournalWalk

__all__ = ["Exported", "export"]

Exported = dict[str, Any]


def export(
    found: Iterable[Found],
    *,
    since: Bound | None = None,
    until: Bound | None = None,
    snapshots: bool = False,
) -> Iterator[Exported]:
    """Yield the records of the span, each once, oldest first. Snapshots after the first are left out by default.

    Damage is one object of the kind `damage`; the export continues where the journal does.
    """
    exporter = _Exporter(Scope(since, until), snapshots)
    for item in found:
        exporter.take(item)
        yield from exporter.taken()
        if exporter.over:
            return


class _Exporter(JournalWalk):
    def __init__(self, scope: Scope, snapshots: bool) -> None:
        super().__init__()
        self._scope = scope
        self._snapshots = snapshots
        self._newest = -1
        self._lines: list[Exported] = []
        self._waiting: list[Exported] = []
        """Decisions since the last frame: they belong to the next one."""
        self._known: set[tuple[str, str]] = set()

    @property
    def over(self) -> bool:
        """Whether the span has ended."""
        return self._over

    def taken(self) -> list[Exported]:
        """What has been found since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def _on_damage(self, found: Damage) -> None:
        self._damage(found.offset, found.problem)

    def _on_unreadable(self, entry: Entry, problem: str) -> None:
        self._damage(entry.end, problem)

    def _on_snapshot(self, head: Snapshot, entry: Entry, *, resumes: bool) -> None:
        if self._snapshots or self._number is None:
            self._add(_snapshot(head) | self._where(entry))

    def _on_rows(self, rows: Rows, entry: Entry) -> None:
        if self._snapshots:
            plain = [[_plain(key), _plain(row)] for key, row in rows.rows]
            self._add({"kind": "rows", "table": rows.table, "rows": plain} | self._where(entry))

    def _on_opened(self, opened: Opened, entry: Entry) -> None:
        self._decision("opened", opened, entry)

    def _on_closed(self, closed: Closed, entry: Entry) -> None:
        self._decision("closed", closed, entry)

    def _on_frame(self, frame: Frame, entry: Entry) -> None:
        if frame.number <= self._newest:
            # In a journal whose chain is broken: each frame is exported once.
            return
        self._newest = frame.number
        waiting, self._waiting = self._waiting, []
        self._known.clear()
        if not self._scope.whole and self._scope.past(frame):
            self._over = True
            return
        self._scope.enter(frame)
        if self._scope.open:
            digest = {"digest": self._digest.hex()}
            self._lines += [*waiting, {"kind": "frame"} | _frame(frame) | digest | self._where(entry)]

    def _decision(self, kind: str, record: Opened | Closed, entry: Entry) -> None:
        if (kind, record.id) not in self._known:
            self._known.add((kind, record.id))
            self._waiting.append({"kind": kind} | _builtins(record) | self._where(entry))

    def _damage(self, offset: int, problem: str) -> None:
        self._add({"kind": "damage", "segment": self._segment, "offset": offset, "problem": problem})

    def _add(self, line: Exported) -> None:
        if self._scope.open:
            self._lines.append(line)

    def _where(self, entry: Entry) -> Exported:
        return {"segment": self._segment, "end": entry.end}


def _frame(frame: Frame) -> Exported:
    plain = _builtins(frame)
    plain["turn"] = plain.pop("kind")
    plain["prev"] = frame.prev.hex()
    plain["changes"] = {
        "cells": {name: _plain(data) for name, data in frame.changes.cells.items()},
        "tables": {
            name: [[_plain(key), None if row is None else _plain(row)] for key, row in rows]
            for name, rows in frame.changes.tables.items()
        },
    }
    plain["traffic"]["waiting"] = [_item(item) for item in frame.traffic.waiting]
    return plain


def _snapshot(head: Snapshot) -> Exported:
    plain = _builtins(head)
    plain["kind"] = "snapshot"
    plain["digest"] = head.digest.hex()
    plain["cells"] = {name: _plain(data) for name, data in head.cells.items()}
    plain["vitals"]["waiting"] = [_item(item) for item in head.vitals.waiting]
    return plain


def _item(item: Item) -> Exported:
    return _builtins(item) | {"data": _plain(item.data)}


def _builtins(value: msgspec.Struct) -> Exported:
    """A struct as a dict by field names, whatever its encoding."""
    return {name: _deep(getattr(value, name)) for name in value.__struct_fields__}


def _deep(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _builtins(value)
    if isinstance(value, dict):
        return {str(key): _deep(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_deep(item) for item in cast("list[Any]", value)]
    return {"msgpack": value.hex()} if isinstance(value, bytes) else value


def _plain(data: bytes) -> Any:
    """Encoded data, decoded without types; `{"msgpack": hex}` for what JSON cannot express."""
    try:
        value = msgspec.msgpack.decode(data)
        msgspec.json.encode(value)
    except UNDECODABLE:
        return {"msgpack": data.hex()}
    return value
