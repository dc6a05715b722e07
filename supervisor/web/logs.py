"""The logs, a page at a time: the end of each file to begin with, and then what came since.

Where a reader stands is told to the reader, who brings it along: nothing is kept here for anybody.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...protocol.errors import NeverblinkError
from ...protocol.logline import decode_line, level_of
from ..store.history_db import HistoryDb
from ..store.state_dir import Home
from ..system.tail import LogPosition, LogTail, last_lines
from .errors import RequestRefused
from .json_views import LogLineSeen, Logs, LogsWanted

__all__ = ["LogPages"]

_FILE = re.compile(r"w\d{1,9}")
_PLACE = re.compile(r"([0-9]{1,20})-([0-9]{1,18})")
_SUPERVISOR = "supervisor"
_MOST_FILES = 20
_MOST_LINES = 2000
_LONGEST_LINE = 4000
_MOST_BEHIND = 512 * 1024
"""Bytes; a reader that is further behind starts again at the end."""


class LogPages:
    """The logs of the bot in `home`. Reads files, and is to be called from one thread at a time."""

    def __init__(self, home: Home, bot: str) -> None:
        self._home = home
        self._bot = bot
        self._releases: dict[str, str] = {}
        """Each worker's."""

    def page(self, wanted: LogsWanted) -> Logs:
        """What is wanted of them. Raises `RequestRefused`."""
        files = self._files()
        if wanted.worker:
            if wanted.worker not in files:
                raise RequestRefused(
                    "not-found", f"there is no log of {wanted.worker!r} (logs of: {', '.join(files)})"
                )
            files = {wanted.worker: files[wanted.worker]}
        places = _places(wanted.after)
        lines: list[LogLineSeen] = []
        after: list[str] = []
        for worker, path in files.items():
            texts, place = _read(
                path, places.get(worker, LogPosition(0, 0)) if wanted.after else None, wanted.lines
            )
            release = self._release(worker)
            lines += [_line(worker, release, text) for text in texts]
            after.append(f"{worker}:{place.file}-{place.offset}")
        most = _MOST_LINES if wanted.after else wanted.lines
        return Logs(lines[-most:] if most else [], ",".join(after))

    def _files(self) -> dict[str, Path]:
        """Those there are, in the order of their workers, the supervisor's last."""
        there = [
            path for path in self._home.logs.glob("w*.log") if _FILE.fullmatch(path.stem) and path.is_file()
        ]
        there.sort(key=lambda path: int(path.stem[1:]))
        files = {path.stem: path for path in there[-_MOST_FILES:]}
        return {**files, _SUPERVISOR: self._home.logs / "supervisor.log"}

    def _release(self, worker: str) -> str:
        if worker == _SUPERVISOR:
            return ""
        if worker not in self._releases:
            try:
                with HistoryDb.open(self._home.database, self._bot, read_only=True) as history:
                    for row in history.workers(1000):
                        self._releases[row.worker] = row.release
            except NeverblinkError:
                return ""
        return self._releases.get(worker, "")


def _line(worker: str, release: str, text: str) -> LogLineSeen:
    line = decode_line(text)
    if line is None:
        return LogLineSeen(worker, release, level_of(text), text[:_LONGEST_LINE])
    return LogLineSeen(worker, line.release or release, line.level, line.text[:_LONGEST_LINE], line.time)


def _read(path: Path, place: LogPosition | None, count: int) -> tuple[list[str], LogPosition]:
    if place is None:
        return last_lines(path, count)
    tail = LogTail(path, place)
    if tail.behind() > _MOST_BEHIND:
        return last_lines(path, _MOST_LINES)
    return list(tail.look()), tail.place


def _places(after: str) -> dict[str, LogPosition]:
    places: dict[str, LogPosition] = {}
    for part in after.split(",") if after else ():
        worker, _, place = part.rpartition(":")
        found = _PLACE.fullmatch(place)
        if found is None:
            raise RequestRefused("bad-input", "after: expected the `next` of an answer before")
        places[worker] = LogPosition(int(found[1]), int(found[2]))
    return places
