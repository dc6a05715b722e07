"""Parses log lines, in text or JSON, and filters them."""

from __future__ import annotations

import heapq
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from ...protocol.logline import LEVELS, SUPERVISOR, Level, decode_line, level_of

__all__ = ["LineFilter", "MergedLine", "Reader", "Timed", "merged", "shortened"]

_SHOWN = 4000
"""Characters of a line that are shown."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)?(Z|[+-]\d\d:?\d\d)?\b")


class MergedLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. Unknown parts are left out."""

    release: str
    worker: str
    text: str
    level: Level
    time: str = ""
    """ISO 8601, as written in the line."""
    deployment: int = 0
    epoch: int = 0
    seq: int | None = None
    event: str = ""
    about: str = ""
    """In the supervisor's log: the worker that the line is about."""
    fields: dict[str, Any] = {}


class Reader:
    """The lines of one worker's file. A line without time or level gets those of the line before it."""

    def __init__(self, worker: str, release: str, deployment: int = 0) -> None:
        self._worker = worker
        self._release = release
        self._deployment = deployment
        self._level: Level = "info"
        self.at: int | None = None
        """The time of the last line, wall ns, from itself or a line before it."""

    def read(self, text: str) -> MergedLine:
        line = decode_line(text)
        if line is not None:
            self.at, self._level = _moment(line.time), line.level
            ours = self._worker == SUPERVISOR
            return MergedLine(
                self._release if ours else line.release or self._release,
                self._worker if ours else line.worker or self._worker,
                line.text,
                line.level,
                line.time,
                line.deployment or self._deployment,
                line.epoch,
                line.seq,
                line.event,
                line.worker if ours else "",
                line.fields,
            )
        self._level = level_of(text, self._level)
        stamp = _STAMP.match(text)
        if stamp is not None:
            self.at = _moment(stamp[0].replace(",", "."))
        return MergedLine(self._release, self._worker, text, self._level, deployment=self._deployment)


class Timed(NamedTuple):
    """A line and the time it was written, wall ns, if known."""

    at: int
    line: MergedLine


def merged(of_each: list[list[Timed]]) -> list[MergedLine]:
    """Merge the lines of several files by time. Lines of one file keep their order, even if its clock stepped."""
    return [timed.line for timed in heapq.merge(*of_each, key=lambda timed: timed.at)]


def shortened(text: str) -> str:
    """A line for a terminal: long ones are cut."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… (cut: {len(text):,} characters)"


class LineFilter(msgspec.Struct, frozen=True):
    """Selects lines; a value of "", 0 or None selects all."""

    level: Level | None = None
    deployment: int = 0
    since: int | None = None
    """Wall ns."""

    @property
    def all(self) -> bool:
        return self == LineFilter()

    def has(self, line: MergedLine, at: int | None, written: int) -> bool:
        """Whether a line is selected. `at` is its time; a line without one has that of the line before it."""
        if self.level is not None and LEVELS[line.level] < LEVELS[self.level]:
            return False
        if self.since is not None and (at if at is not None else written) < self.since:
            return False
        return not self.deployment or line.deployment == self.deployment or self._names_deployment(line)

    def _names_deployment(self, line: MergedLine) -> bool:
        """In text lines of the supervisor's log, the deployment is named at the beginning."""
        return line.worker == SUPERVISOR and bool(re.search(rf"\bdeployment {self.deployment}\b", line.text))


def _moment(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        # A time without a zone is local to the machine that wrote it, which is usually this one.
        seconds = moment.timestamp() if moment.tzinfo is None else moment.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        # Times in the year 1 or 9999 may be out of range in another zone.
        return None
    return int(seconds * 1_000_000) * 1000
