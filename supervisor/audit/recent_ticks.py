"""The most recent ticks and changes of leader, read from the journal's files as they grow.

Only the journal has every tick, whichever worker ran it, with or without a supervisor. A `RecentTicks` continues from
where it last read, keeps a bounded number of ticks, and begins near the end of a segment: older ticks are the audit's
task. A leader may append, begin new segments and remove old ones meanwhile.

Reading is as slow as the disk, so call `look` in a thread when there is a loop; `since` may be called meanwhile.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from threading import Lock

import msgspec

from ...protocol.frame import Cause, Kind, Led, Timing, Yielded
from ...protocol.journal import (
    FORMAT,
    HEADER_SIZE,
    Entry,
    JournalError,
    RecordKind,
    decode_snapshot,
    first_whole,
    read_header,
    records,
    scan,
)
from ...protocol.wire import UNDECODABLE, WireError
from .reader import segments

__all__ = ["MOST", "LeaderChange", "Place", "RecentTick", "RecentTicks", "Seen"]

MOST = 10_000
"""How many ticks and changes are kept by default."""

Place = tuple[int, int]
"""A position in the stream: epoch and frame number. It only grows until the journal is set aside."""

_TAIL = 1 << 20
"""How much of a segment's end is read first."""
_SEARCHED = 64 << 20
"""How far back the last `lead` frame is searched."""
_LEAD = b"\xa4lead"
"""The kind of such a frame, as msgpack has it,"""
_BEFORE_LEAD = 48
"""and the most bytes that precede it in its record."""
_LONGEST_LEAD = 256 << 10


class RecentTick(msgspec.Struct, frozen=True, tag="tick", tag_field="kind"):
    """A tick that ran, ns. It began `late` after `due` (wall clock), and its boundary came `took` later."""

    epoch: int
    number: int
    seq: int
    worker: str
    release: str
    due: int
    late: int
    took: int
    skipped: int = 0
    """Indices just before it that did not run: by the bot's own overrun,"""
    missed: int = 0
    """and because there was no leader to run them."""

    @property
    def began(self) -> int:
        """Wall clock, ns."""
        return self.due + self.late


class LeaderChange(msgspec.Struct, frozen=True, tag="change", tag_field="kind"):
    """Another worker leads from here on. `seq` is the last tick before; `blackout` is ns, 0 when unknown."""

    epoch: int
    number: int
    seq: int
    worker: str
    release: str
    at: int
    cause: Cause
    before: str = ""
    deployment: int = 0
    blackout: int = 0


Seen = RecentTick | LeaderChange


class RecentTicks:
    """The last ticks in the journal in `directory`, at most `most` of them."""

    def __init__(self, directory: Path, most: int = MOST) -> None:
        self._directory = directory
        self._seen: deque[Seen] = deque(maxlen=most)
        self._lock = Lock()
        self._names: dict[int, tuple[str, str]] = {}
        """Worker and release by epoch."""
        self._segment = -1
        self._file = -1
        """The inode: a journal that was set aside begins again with the same numbers."""
        self._format = FORMAT
        self._offset = 0
        self._newest: Place = (-1, -1)

    def look(self) -> int:
        """Read what was appended since the last call; return the number of new ticks and changes. Never raises.

        Skips what cannot be read: damage is reported elsewhere.
        """
        there = segments(self._directory)
        if not there:
            return 0
        found: list[Seen] = []
        if not there[0][0] <= self._segment <= there[-1][0]:
            self._begin(there, found)
        else:
            for number, path in there:
                if number >= self._segment:
                    self._go_on(number, path, found)
        with self._lock:
            self._seen.extend(found)
        return len(found)

    def since(self, place: Place | None = None) -> list[Seen]:
        """What was found after `place`, oldest first; everything kept when it is None or of another journal."""
        with self._lock:
            seen, newest = list(self._seen), self._newest
        if place is None or place > newest:
            return seen
        return [entry for entry in seen if _place(entry) > place]

    # reading

    def _begin(self, there: list[tuple[int, Path]], found: list[Seen]) -> None:
        """The newest segment may be nearly empty: the ticks before it are at the end of the previous one."""
        with self._lock:
            self._seen.clear()
        self._names.clear()
        self._newest = (-1, -1)
        for number, path in there[-2:]:
            self._segment, self._offset = -1, 0
            self._go_on(number, path, found)

    def _go_on(self, number: int, path: Path, found: list[Seen]) -> None:
        try:
            with path.open("rb", buffering=0) as file:
                descriptor = file.fileno()
                facts = os.fstat(descriptor)
                if number != self._segment:
                    header = os.pread(descriptor, HEADER_SIZE, 0)
                    if len(header) < HEADER_SIZE:
                        return
                    self._format = read_header(header, path.name).format
                    self._segment, self._file, self._offset = number, facts.st_ino, HEADER_SIZE
                elif facts.st_ino != self._file or facts.st_size < self._offset:
                    self._segment = -1
                    return
                if facts.st_size - self._offset > 2 * _TAIL:
                    self._jump(descriptor, facts.st_size)
                self._read(descriptor, found)
        except (OSError, JournalError):
            # The leader removes the oldest now and then, and a damaged one has no ticks to show.
            return

    def _jump(self, descriptor: int, size: int) -> None:
        """Drop what is too old, except who led."""
        start = max(self._offset, size - _TAIL)
        if not self._find_lead(descriptor, start):
            for entry in records(lambda at, most: os.pread(descriptor, most, at), HEADER_SIZE, self._format):
                if isinstance(entry, Entry):
                    self._note_snapshot(entry)
                break
        inside = first_whole(os.pread(descriptor, _TAIL, start), self._format)
        self._offset = size if inside is None else start + inside

    def _find_lead(self, descriptor: int, end: int) -> bool:
        """Find in the last `lead` frame before `end` who led then; return whether there was one."""
        least = max(HEADER_SIZE, end - _SEARCHED)
        while end > least:
            start = max(least, end - _TAIL)
            data = os.pread(descriptor, end - start + len(_LEAD), start)
            hit = len(data)
            while (hit := data.rfind(_LEAD, 0, hit)) >= 0:
                before = max(HEADER_SIZE, start + hit - _BEFORE_LEAD)
                window = os.pread(descriptor, _LONGEST_LEAD, before)
                inside = first_whole(window, self._format)
                if inside is not None and before + inside < start + hit:
                    entry = next(iter(scan(window, inside, self._format)))
                    if isinstance(entry, Entry) and entry.kind is RecordKind.FRAME:
                        frame = _glance(entry.payload)
                        if frame is not None and isinstance(frame.about, Led):
                            self._names[frame.epoch] = (frame.about.worker, frame.about.release)
                            return True
            end = start
        return False

    def _read(self, descriptor: int, found: list[Seen]) -> None:
        for entry in records(lambda at, most: os.pread(descriptor, most, at), self._offset, self._format):
            if not isinstance(entry, Entry):
                # Its second half may follow. If not, the successor continues here or in a new segment.
                return
            self._offset = entry.end
            if entry.kind is RecordKind.FRAME:
                self._take(entry.payload, found)
            else:
                self._note_snapshot(entry)

    def _note_snapshot(self, entry: Entry) -> None:
        if entry.kind is not RecordKind.SNAPSHOT:
            return
        try:
            snapshot = decode_snapshot(entry.payload)
        except WireError:
            return
        if snapshot.led_by:
            self._names.setdefault(snapshot.epoch, (snapshot.led_by, ""))

    def _take(self, payload: bytes, found: list[Seen]) -> None:
        frame = _glance(payload)
        if frame is None:
            return
        place = (frame.epoch, frame.number)
        if place <= self._newest:
            # Frames written while a segment's snapshot is being written are in both segments.
            return
        self._newest = place
        timing = frame.timing
        if isinstance(frame.about, Led):
            led = frame.about
            self._names[frame.epoch] = (led.worker, led.release)
            found.append(
                LeaderChange(
                    frame.epoch,
                    frame.number,
                    frame.seq,
                    led.worker,
                    led.release,
                    timing.ended,
                    led.cause,
                    led.before,
                    led.deployment,
                    led.blackout,
                )
            )
        elif frame.kind == "tick":
            worker, release = self._names.get(frame.epoch, ("", ""))
            lost = {"skipped": 0, "missed": 0}
            for gap in timing.gaps:
                lost[gap.kind] += len(gap)
            found.append(
                RecentTick(
                    frame.epoch,
                    frame.number,
                    frame.seq,
                    worker,
                    release,
                    timing.due,
                    timing.late,
                    timing.took,
                    **lost,
                )
            )


class _Glance(msgspec.Struct, frozen=True, array_like=True):
    """A frame without its changes."""

    epoch: int
    number: int
    seq: int
    kind: Kind
    schema: msgspec.Raw
    prev: msgspec.Raw
    timing: Timing
    changes: msgspec.Raw
    traffic: msgspec.Raw = msgspec.Raw()
    timers: msgspec.Raw = msgspec.Raw()
    paused: bool | None = None
    about: Led | Yielded | None = None


_decoder = msgspec.msgpack.Decoder(_Glance)


def _glance(payload: bytes) -> _Glance | None:
    try:
        return _decoder.decode(payload)
    except UNDECODABLE:
        return None


def _place(entry: Seen) -> Place:
    return (entry.epoch, entry.number)
