"""Reads a home's journal from its files, in order and in bounded memory, also while a leader appends to it.

The segments are in one directory as `00000001.journal` and so on. The reader yields every whole record of every
segment, and a `Segment` before the first of each. Where a segment ends in bytes that are not a whole record, there are
two cases: an `UnfinishedRecord` is left by a killed process, or by one that is writing now; `Damage` is anything else,
and the rest of that segment cannot be read.

A live leader only ever appends, and begins a new segment after its last write to the old one. So the reader
reads a segment again after a later one appeared, and only then leaves it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ...protocol.journal import (
    FORMAT,
    HEADER_SIZE,
    Entry,
    JournalError,
    JournalTooNew,
    Torn,
    read_header,
    scan,
)

__all__ = [
    "Damage",
    "Found",
    "Segment",
    "UnfinishedRecord",
    "check_formats",
    "read_journal",
    "read_segment",
    "segments",
]

_CHUNK = 1 << 20
_TRIES = 3
"""How often a record that is cut off at the end of the file is read again: its second half may follow."""


class Segment(msgspec.Struct, frozen=True):
    """What is read from here on belongs to this segment. `size` is the file's when it was opened."""

    number: int
    size: int
    format: int = FORMAT


class UnfinishedRecord(msgspec.Struct, frozen=True):
    """Segment `segment` ends at `offset` with `rest` bytes that are the beginning of a record (or 0)."""

    segment: int
    offset: int
    rest: int
    problem: str


class Damage(msgspec.Struct, frozen=True):
    """Segment `segment` cannot be read from `offset` on, and a killed process cannot be the cause."""

    segment: int
    offset: int
    problem: str


Found = Segment | Entry | UnfinishedRecord | Damage


def segments(directory: Path) -> list[tuple[int, Path]]:
    """The segments in `directory` by number, oldest first; empty when there is no such directory."""
    found = [(int(path.stem), path) for path in directory.glob("*.journal") if path.stem.isdecimal()]
    return sorted(found)


def read_journal(directory: Path, after: int = -1) -> Iterator[Found]:
    """Yield everything in the journal in `directory`, oldest first, without the segments up to `after`.

    Raises `JournalError`.
    """
    done = after
    while True:
        later = [found for found in segments(directory) if found[0] > done]
        if not later:
            return
        number, path = later[0]
        try:
            yield from read_segment(path)
        except _Gone:
            # The leader has just removed the oldest segment.
            continue
        done = number


def read_segment(path: Path) -> Iterator[Found]:
    """Yield everything in one segment. Raises `JournalError`."""
    yield from _Reader(path.parent, int(path.stem), path).read()


def check_formats(directory: Path) -> None:
    """Raise `JournalTooNew` when a later release wrote any of the segments. Damage is ignored here."""
    for _, path in segments(directory):
        try:
            with path.open("rb") as file:
                read_header(file.read(HEADER_SIZE), path.name)
        except JournalTooNew:
            raise
        except (JournalError, OSError):
            continue


class _Gone(JournalError):
    """A segment that existed a moment ago."""


class _Reader:
    """One segment: its bytes from `_base` on are in `_data`, whole records up to `_at` have been handed out."""

    def __init__(self, directory: Path, number: int, path: Path) -> None:
        self._directory = directory
        self._number = number
        self._path = path
        self._data = b""
        self._base = 0
        self._at = 0
        self._tries = 0
        self._last_chance = False
        self._format = FORMAT

    def read(self) -> Iterator[Found]:
        try:
            with self._path.open("rb", buffering=0) as file:
                descriptor = file.fileno()
                wrong = self._header(descriptor)
                yield Segment(self._number, os.fstat(descriptor).st_size, self._format)
                yield from wrong or self._records(descriptor)
        except FileNotFoundError:
            raise _Gone(self._path.name, "does not exist") from None
        except OSError as problem:
            raise JournalError(self._path.name, f"cannot be read ({problem.strerror})") from None

    def _header(self, descriptor: int) -> list[Found]:
        """Read the header; return why the rest cannot be read, if so."""
        self._data = os.pread(descriptor, _CHUNK, 0)
        if len(self._data) < HEADER_SIZE:
            return [UnfinishedRecord(self._number, 0, len(self._data), "its header is incomplete")]
        try:
            header = read_header(self._data, self._path.name)
        except JournalTooNew:
            raise
        except JournalError as problem:
            return [Damage(self._number, 0, problem.problem)]
        if header.segment != self._number:
            return [Damage(self._number, 0, f"its header says segment {header.segment}")]
        self._format = header.format
        self._at = HEADER_SIZE
        return []

    def _records(self, descriptor: int) -> Iterator[Found]:
        while True:
            torn: Torn | None = None
            for found in scan(self._data, self._at, self._format):
                if isinstance(found, Torn):
                    torn = found
                    break
                self._at = found.end
                yield Entry(found.kind, found.payload, self._base + found.end)
            self._base += self._at
            rest = self._data[self._at :]
            self._at = 0
            if torn is not None and not _is_cut_off(torn):
                yield self._judge(descriptor, torn, rest)
                return
            if self._more(descriptor, rest):
                continue
            if torn is not None:
                yield UnfinishedRecord(self._number, self._base, len(rest), torn.problem)
            return

    def _more(self, descriptor: int, rest: bytes) -> bool:
        """Read more; return whether to try again. Reads twice as much for a long record."""
        more = os.pread(descriptor, max(_CHUNK, len(rest)), self._base + len(rest))
        if more:
            self._data = rest + more
            return True
        if rest and self._tries < _TRIES:
            # A successor may have truncated and rewritten it, so all of it is read again.
            self._tries += 1
            self._data = os.pread(descriptor, max(_CHUNK, len(rest)), self._base)
            return True
        if not self._last_chance and any(number > self._number for number, _ in segments(self._directory)):
            self._last_chance = True
            self._tries = 0
            self._data = os.pread(descriptor, _CHUNK, self._base)
            return True
        return False

    def _judge(self, descriptor: int, torn: Torn, rest: bytes) -> Found:
        """Zeros to the end count as unfinished too: a power cut can leave a file's length without its content."""
        offset = self._base
        if any(rest):
            return Damage(self._number, offset, torn.problem)
        end = offset + len(rest)
        while block := os.pread(descriptor, _CHUNK, end):
            if any(block):
                return Damage(self._number, offset, torn.problem)
            end += len(block)
        return UnfinishedRecord(self._number, offset, end - offset, "zeros, as after a power cut")


def _is_cut_off(torn: Torn) -> bool:
    """Whether more bytes could make it whole."""
    return torn.cut_off
