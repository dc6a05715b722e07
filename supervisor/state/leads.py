"""What a segment says at a glance: the snapshot that it opens with, and which releases came to lead in it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...protocol.frame import Led, decode_frame
from ...protocol.journal import Entry, JournalError, RecordKind, Snapshot, decode_snapshot
from ...protocol.wire import UNDECODABLE, WireError
from ..audit.reader import read_segment, segments

__all__ = ["leads_in", "opening_of"]


class _FrameBeginning(msgspec.Struct, frozen=True, array_like=True):
    """The first fields of a `Frame`: all that is decoded of those that are not looked for."""

    epoch: int
    number: int
    seq: int
    kind: str


_beginning: msgspec.msgpack.Decoder[_FrameBeginning] = msgspec.msgpack.Decoder(_FrameBeginning)


def opening_of(journal: Path, segment: int) -> Snapshot | None:
    """The snapshot that a segment opens with, without its rows; None when it has none that can be read."""
    path = dict(segments(journal)).get(segment)
    try:
        for item in read_segment(path) if path is not None else ():
            if isinstance(item, Entry):
                return decode_snapshot(item.payload) if item.kind is RecordKind.SNAPSHOT else None
    except (JournalError, WireError):
        pass
    return None


def leads_in(path: Path) -> list[tuple[int, str]]:
    """The frames of a segment at which a release came to lead, oldest first; the snapshot's frame with the release that
    led then, where it is known."""
    found: list[tuple[int, str]] = []
    try:
        for item in read_segment(path):
            match item:
                case Entry(kind=RecordKind.SNAPSHOT):
                    head = decode_snapshot(item.payload)
                    if head.release:
                        found.append((head.number + 1, head.release))
                case Entry(kind=RecordKind.FRAME) if _beginning.decode(item.payload).kind == "lead":
                    frame = decode_frame(item.payload)
                    if isinstance(frame.about, Led):
                        found.append((frame.number, frame.about.release))
                case _:
                    pass
    except (JournalError, WireError, *UNDECODABLE):
        # What follows in the segment cannot be read; what is found elsewhere still counts.
        pass
    return found
