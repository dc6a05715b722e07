"""A journal as plain data: each frame, decision and snapshot as one object that any program can read.

What the bot's state holds is decoded as far as it can be without the bot's own types: numbers, text, lists and maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec

from ...protocol.frame import Frame, Item, digest_of
from ...protocol.journal import (
    Closed,
    Entry,
    Opened,
    RecordKind,
    Rows,
    Snapshot,
    Whole,
    decode,
)
from ...protocol.wire import UNDECODABLE, WireError
from .reader import Damage, Found, Segment
from .scope import Bound, Scope

__all__ = ["Exported", "export"]

Exported = dict[str, Any]


def export(
    found: Iterable[Found],
    *,
    since: Bound | None = None,
    until: Bound | None = None,
    snapshots: bool = False,
) -> Iterator[Exported]:
    """Yield the records of the span, each once, oldest first; of snapshots only the first, unless all are wanted.

    What is damaged is one object of the kind `damage`; where the journal goes on after it, so does this.
    """
    exporter = _Exporter(Scope(since, until), snapshots)
    for item in found:
        yield from exporter.take(item)
        if exporter.over:
            return


class _Exporter:
    def __init__(self, scope: Scope, snapshots: bool) -> None:
        self.over = False
        self._scope = scope
        self._snapshots = snapshots
        self._segment = 0
        self._number: int | None = None
        self._local = -1
        """The newest frame whose effects are in what was read of the segment at hand."""
        self._waiting: list[Exported] = []
        """Decisions since the last frame: they belong to the one that comes."""
        self._known: set[tuple[str, str]] = set()

    def take(self, item: Found) -> Iterator[Exported]:
        match item:
            case Segment():
                self._segment = item.number
            case Damage():
                if self._scope.open:
                    yield {
                        "kind": "damage",
                        "segment": item.segment,
                        "offset": item.offset,
                        "problem": item.problem,
                    }
            case Entry():
                try:
                    yield from self._entry(item)
                except WireError as problem:
                    if self._scope.open:
                        yield {
                            "kind": "damage",
                            "segment": self._segment,
                            "offset": item.end,
                            "problem": str(problem),
                        }
            case _:
                pass

    def _entry(self, entry: Entry) -> Iterator[Exported]:
        where = {"segment": self._segment, "end": entry.end}
        if entry.kind is RecordKind.ROWS and not self._snapshots:
            return
        match decode(entry):
            case Frame() as frame:
                self._local = frame.number
                if self._number is None or frame.number > self._number:
                    yield from self._frame(frame, entry.payload, where)
            case Snapshot() as head:
                self._local = head.number
                wanted = self._snapshots or self._number is None
                self._number = head.number if self._number is None else max(self._number, head.number)
                if wanted and self._scope.open:
                    yield _snapshot(head) | where
            case Rows(table=table, rows=rows):
                if self._scope.open:
                    yield {
                        "kind": "rows",
                        "table": table,
                        "rows": [[_plain(key), _plain(row)] for key, row in rows],
                    } | where
            case Opened() as opened:
                self._decision("opened", opened.id, {"kind": "opened"} | _builtins(opened) | where)
            case Closed() as closed:
                self._decision("closed", closed.id, {"kind": "closed"} | _builtins(closed) | where)
            case Whole():
                pass

    def _decision(self, word: str, id: str, said: Exported) -> None:
        if self._number is not None and self._local < self._number:
            return
        if (word, id) not in self._known:
            self._known.add((word, id))
            self._waiting.append(said)

    def _frame(self, frame: Frame, body: bytes, where: Exported) -> Iterator[Exported]:
        self._number = frame.number
        waiting, self._waiting = self._waiting, []
        self._known.clear()
        if not self._scope.whole and self._scope.past(frame):
            self.over = True
            return
        self._scope.enter(frame)
        if self._scope.open:
            yield from waiting
            yield {"kind": "frame"} | _frame(frame) | {"digest": digest_of(body).hex()} | where


def _frame(frame: Frame) -> Exported:
    said = _builtins(frame)
    said["turn"] = said.pop("kind")
    said["prev"] = frame.prev.hex()
    said["changes"] = {
        "cells": {name: _plain(data) for name, data in frame.changes.cells.items()},
        "tables": {
            name: [[_plain(key), None if row is None else _plain(row)] for key, row in rows]
            for name, rows in frame.changes.tables.items()
        },
    }
    said["traffic"]["waiting"] = [_item(item) for item in frame.traffic.waiting]
    return said


def _snapshot(head: Snapshot) -> Exported:
    said = _builtins(head)
    said["kind"] = "snapshot"
    said["digest"] = head.digest.hex()
    said["cells"] = {name: _plain(data) for name, data in head.cells.items()}
    said["vitals"]["waiting"] = [_item(item) for item in head.vitals.waiting]
    return said


def _item(item: Item) -> Exported:
    return _builtins(item) | {"data": _plain(item.data)}


def _builtins(value: msgspec.Struct) -> Exported:
    """A struct as a dict by field names, however it travels."""
    return {name: _deep(getattr(value, name)) for name in value.__struct_fields__}


def _deep(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _builtins(value)
    if isinstance(value, dict):
        return {str(key): _deep(one) for key, one in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_deep(one) for one in cast("list[Any]", value)]
    return {"msgpack": value.hex()} if isinstance(value, bytes) else value


def _plain(data: bytes) -> Any:
    """Encoded data, decoded without types; `{"msgpack": hex}` for what JSON has no word for."""
    try:
        value = msgspec.msgpack.decode(data)
        msgspec.json.encode(value)
    except UNDECODABLE:
        return {"msgpack": data.hex()}
    return value
