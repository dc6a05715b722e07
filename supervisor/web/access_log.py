"""What the web process writes down: each refusal and each command, a line in the home's logs.

A client that is refused a million times must not fill the disk: lines are limited in number, and the file in size.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ..config.config import LogSettings
from ..system.log_file import SupervisorLogFile
from ..system.secrets import without_secrets
from .rate_limits import Bucket

__all__ = ["AccessLog", "logger_into"]

_LINES_A_SECOND = 10.0
_AT_ONCE = 200.0


class AccessLog:
    """Appends to the file at `path`, which is rotated as `log` says."""

    def __init__(
        self, path: Path, log: LogSettings | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        log = log or LogSettings()
        self._file = SupervisorLogFile(path, log.size, log.keep, _about_lost)
        self._clock = clock
        self._bucket = Bucket(_LINES_A_SECOND, _AT_ONCE, clock())
        self._left_out = 0

    def say(self, text: str) -> None:
        """Write one line. Never raises."""
        if self._bucket.take(self._clock()):
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        if left_out:
            self._write(f"({left_out} lines like these were left out)")
        self._write(text)

    def _write(self, text: str) -> None:
        self._file.write(_stamped(_printable(without_secrets(" ".join(text.split())))))


def logger_into(book: AccessLog) -> logging.Logger:
    """A logger for the server's library: what was no HTTP request, and so met none of our checks, is written down."""
    logger = logging.getLogger("neverblink.web")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers = [_Scribe(book)]
    return logger


class _Scribe(logging.Handler):
    def __init__(self, book: AccessLog) -> None:
        super().__init__()
        self._book = book

    def emit(self, record: logging.LogRecord) -> None:
        problem = record.exc_info[1] if record.exc_info else None
        if problem is not None:
            # Its words quote what came, and that may be a header with a token.
            self._book.say(f"refused, not a request: {record.getMessage()}: {type(problem).__name__}")


def _about_lost(count: int, why: str) -> str:
    return _stamped(f"({count} lines before this one could not be written: {why})")


def _stamped(line: str) -> str:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{stamp} {line}"


def _printable(line: str) -> str:
    """What a stranger sent may be anything; a terminal that shows the log must not obey it."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line[:1000])
