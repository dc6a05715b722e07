"""Builds journals for the audit's tests, step by step, with the protocol's own functions.

A `JournalBuilder` writes what a real worker would write. `frame` accepts any other content, so that a test can include
one contradiction. The records are a list, so that a test can change, drop or swap them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neverblink.protocol.frame import (
    GENESIS,
    NOTHING,
    Armed,
    Cause,
    Changes,
    Frame,
    Kind,
    Led,
    Schema,
    Timing,
    Traffic,
    Vitals,
    Yielded,
    digest_of,
    encode_frame,
)
from neverblink.protocol.grid import Gap
from neverblink.protocol.journal import (
    Closed,
    Entry,
    Opened,
    RecordKind,
    Rows,
    Snapshot,
    Whole,
    encode_payload,
    pack_header,
    pack_record,
)
from neverblink.supervisor.audit.reader import Found, Segment

SECOND = 1_000_000_000
MS = 1_000_000
Record = tuple[RecordKind, bytes]


class JournalBuilder:
    """One bot. `seq` is the last tick that ran; ticks are due at `seq * interval`, and a turn takes 2 ms."""

    def __init__(self, interval: int = SECOND, seq: int = 1000) -> None:
        self.interval = interval
        self.seq = seq
        self.ran = False
        self.mono = 5 * SECOND
        self.epoch = 0
        self.number = -1
        self.digest = GENESIS
        self.schema = Schema(1, "a")
        self.worker = ""
        self.order = 0
        self.open: dict[str, Opened] = {}
        self.unsettled: list[str] = []
        """Closed since the last frame."""
        self.timers: dict[str, Armed] = {}
        self.applied: list[str] = []
        self.received: list[str] = []
        self.arming: dict[str, Armed | None] = {}
        self.segments: list[list[Record]] = []

    @property
    def records(self) -> list[Record]:
        return self.segments[-1]

    @property
    def wall(self) -> int:
        return self.seq * self.interval + 500 * MS

    # what a worker does

    def begin(self, worker: str = "w1", release: str = "v1") -> JournalBuilder:
        """The first worker takes the lease and writes the first segment."""
        self.segment()
        return self.lead(worker, "first", release=release)

    def segment(self, rows: Sequence[Rows] = (), **lies: Any) -> JournalBuilder:
        """Begin a segment with the state as it is."""
        facts: dict[str, Any] = {
            "epoch": self.epoch,
            "number": self.number,
            "seq": self.seq if self.ran else -1,
            "digest": self.digest,
            "schema": self.schema,
            "cells": {"n": b"\x01"},
            "tables": {table.table: len(table.rows) for table in rows},
            "vitals": Vitals(dict(self.timers), False, tuple((key, 1) for key in self.applied)),
            "open": tuple(self.open.values()),
        }
        snapshot = Snapshot(**{**facts, **lies})
        self.segments.append([(RecordKind.SNAPSHOT, encode_payload(snapshot))])
        self.records.extend((RecordKind.ROWS, encode_payload(table)) for table in rows)
        self.records.append(
            (
                RecordKind.WHOLE,
                encode_payload(Whole(snapshot.number, snapshot.digest, {t.table: len(t.rows) for t in rows})),
            )
        )
        return self

    def lead(
        self,
        worker: str,
        cause: Cause,
        *,
        release: str = "v1",
        deployment: int = 0,
        blackout: int = 0,
        in_doubt: Sequence[str] | None = None,
        order: int | None = None,
        epoch: int | None = None,
    ) -> JournalBuilder:
        self.epoch = self.epoch + 1 if epoch is None else epoch
        doubts = (*self.unsettled, *self.open) if in_doubt is None else tuple(in_doubt)
        self.open.clear()
        order = self.order if order is None else order
        led = Led(worker, release, cause, self.worker, order, deployment, blackout, doubts)
        self.worker = worker
        return self.frame("lead", about=led)

    def ticks(self, count: int) -> JournalBuilder:
        for _ in range(count):
            self.tick()
        return self

    def heartbeats(self, count: int) -> JournalBuilder:
        for _ in range(count):
            self.tick(heartbeat=True)
        return self

    def tick(self, *gaps: Gap, late: int = 100_000, heartbeat: bool = False, **lies: Any) -> JournalBuilder:
        """The next tick, or heartbeat of an event-driven bot; after `gaps`, the one after the last of them."""
        self.seq = (gaps[-1].last if gaps else self.seq) + 1
        self.ran = True
        timing = Timing(
            due=self.seq * self.interval,
            late=late,
            took=2 * MS,
            ended=self.seq * self.interval + late + 2 * MS,
            mono=self._later(),
            gaps=gaps,
            heartbeat=heartbeat,
        )
        return self.frame("tick", timing=timing, **lies)

    def receive(self, *keys: str) -> JournalBuilder:
        """Receive these events; the next frame records it."""
        self.received += keys
        return self

    def event(self, *keys: str) -> JournalBuilder:
        """A turn for events that came in before."""
        self.applied += keys
        return self.frame("event", applied=keys)

    def arm(self, name: str, due: int, every: int = 0) -> JournalBuilder:
        """The next turn sets a timer."""
        self.arming[name] = self.timers[name] = Armed(due, every)
        return self

    def timer(self, name: str) -> JournalBuilder:
        """A timer goes off."""
        armed = self.timers.pop(name)
        after = Armed(armed.due + armed.every, armed.every) if armed.every else None
        if after is not None:
            self.timers[name] = after
        self.arming[name] = after
        ended = armed.due + 3 * MS
        return self.frame(
            "timer", timing=Timing(due=armed.due, late=MS, took=MS, ended=ended, mono=self._later())
        )

    def decide(self, name: str = "enter", id: str = "", epoch: int | None = None) -> str:
        """Open a decision."""
        epoch = self.epoch if epoch is None else epoch
        opened = Opened(id or f"{epoch}-{self.seq}-{len(self.records)}", epoch, self.seq, name, {}, self.wall)
        self.open[opened.id] = opened
        self.records.append((RecordKind.OPENED, encode_payload(opened)))
        return opened.id

    def conclude(self, id: str, outcome: str = "done") -> JournalBuilder:
        """Close a decision."""
        if self.open.pop(id, None) is not None:
            self.unsettled.append(id)
        self.records.append((RecordKind.CLOSED, encode_payload(Closed(id, self.epoch, outcome, self.wall))))
        return self

    def give(self, to: str) -> JournalBuilder:
        """Yield."""
        self.order += 1
        mono = self._later()
        return self.frame(
            "yield", about=Yielded(to, self.order, mono), timing=Timing(ended=self.wall, mono=mono)
        )

    def hand(self, to: str, release: str, *, deployment: int = 0, blackout: int = 250_000) -> JournalBuilder:
        """A whole handoff."""
        return self.give(to).lead(to, "handoff", release=release, deployment=deployment, blackout=blackout)

    def frame(self, kind: Kind, *, applied: Sequence[str] = (), **facts: Any) -> JournalBuilder:
        """Any frame; correct by default."""
        timing = Timing(due=self.wall, took=MS, ended=self.wall, mono=self._later())
        fields: dict[str, Any] = {
            "epoch": self.epoch,
            "number": self.number + 1,
            "seq": self.seq if self.ran else -1,
            "kind": kind,
            "schema": self.schema,
            "prev": self.digest,
            "timing": timing,
            "changes": Changes({"n": b"\x02"}, {}) if kind == "tick" else NOTHING,
            "traffic": Traffic(tuple(self.received), tuple(applied)),
            "timers": self.arming,
        }
        self.received, self.arming, self.unsettled = [], {}, []
        made = Frame(**{**fields, **facts})
        body = encode_frame(made)
        self.records.append((RecordKind.FRAME, body))
        self.number, self.digest = made.number, digest_of(body)
        return self

    def _later(self) -> int:
        self.mono += 10 * MS
        return self.mono

    # what is left of it

    def found(self) -> list[Found]:
        """As the reader would find it."""
        found: list[Found] = []
        for number, records in enumerate(self.segments, 1):
            found.append(Segment(number, 0))
            found += [Entry(kind, payload, 0) for kind, payload in records]
        return found

    def write(self, directory: Path) -> list[Path]:
        """As files."""
        return [write_segment(directory, number, records) for number, records in enumerate(self.segments, 1)]


def write_segment(directory: Path, number: int, records: Sequence[Record]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{number:08d}.journal"
    path.write_bytes(pack_header(number) + b"".join(pack_record(*record) for record in records))
    return path
