"""The access log of the web process: a line for each refusal and each command, without secrets.

A client that is refused a million times must not fill the disk: lines are limited in rate, and the file in size.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ..config.config import LogSettings
from ..system.log_file import SupervisorLogFile
from .limits import Bucket

__all__ = ["AccessLog", "logger_into", "without_secrets"]

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


def logger_into(access_log: AccessLog) -> logging.Logger:
    """The logger for aiohttp: logs what was not an HTTP request and so never reached the application."""
    logger = logging.getLogger("neverblink.web")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers = [_LogHandler(access_log)]
    return logger


class _LogHandler(logging.Handler):
    def __init__(self, access_log: AccessLog) -> None:
        super().__init__()
        self._access_log = access_log

    def emit(self, record: logging.LogRecord) -> None:
        problem = record.exc_info[1] if record.exc_info else None
        if problem is not None:
            # Its message quotes the request, which may contain a header with a token.
            self._access_log.say(f"refused, not a request: {record.getMessage()}: {type(problem).__name__}")


def _about_lost(count: int, why: str) -> str:
    return _stamped(f"({count} lines before this one could not be written: {why})")


def _stamped(line: str) -> str:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{stamp} {line}"


def _printable(line: str) -> str:
    """Escape control characters, which a terminal that shows the log would interpret."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line[:1000])


_TOKEN = re.compile(r"nbt_[\w%.~+/=-]*", re.ASCII)
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic|digest|negotiate)([ :=]+|%20|\+)[^\s,;\"']+")
_NAMED = re.compile(
    r"(?i)((?:token|secret|passw(?:or)?d|api[-_]?key|authorization|cookie)[\"']?\s*[:=]\s*[\"']?)[^\s&,;\"']+"
)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")


def without_secrets(text: str) -> str:
    """`text` with "***" in place of neverblink's tokens, credentials of an Authorization header, values with a secret's
    name, and the user part of URLs."""
    text = _TOKEN.sub("nbt_***", text)
    text = _AUTHORIZATION.sub(lambda found: f"{found[1]}{found[2]}***", text)
    text = _NAMED.sub(lambda found: f"{found[1]}***", text)
    return _USER_INFO.sub("***@", text)
