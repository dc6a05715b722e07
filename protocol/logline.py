"""A line of a log, as text or as JSON: the fields of a line, and how the level of a plain line is detected.

    2026-11-24T14:05:09.123456Z warning w3 20261124T140000Z-1a2b3c4d | low on funds

Workers and the supervisor write lines in the configured `log.format`, and readers accept both forms. The level of a
line that a program printed is the word that nearly every format has near its beginning; a traceback is an error.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from .wire import UNDECODABLE

__all__ = [
    "LEVELS",
    "SUPERVISOR",
    "Format",
    "Level",
    "LogLine",
    "decode_line",
    "encode_line",
    "encode_text",
    "level_named",
    "level_of",
]

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

LEVELS: dict[Level, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}
"""The levels and their severity."""

SUPERVISOR = "supervisor"
"""In a line of text: the name of a writer that is not a worker."""

_WORDS: dict[str, Level] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "err": "error",
    "critical": "error",
    "fatal": "error",
    "exception": "error",
}
_WORD = re.compile(
    r"\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b"
    r"|\[(debug|info|warning|error|critical|exception) *\]"
)
_PERHAPS = re.compile(r"[A-Z]{4}|\[[dicwe]")
"""Every line with one of these words matches this; searching for it takes a fifth of the time."""
_LOOKED_AT = 80
"""A level is near the beginning of a line."""
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|Fatal Python error|neverblink: ")
_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) (debug|info|warning|error) +(\S+) (\S+) \| (.*)", re.DOTALL
)
_NONE = "-"
"""In a line of text: the supervisor's lines have no release."""
_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning|ExceptionGroup)\b")


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. Fields without a value are left out: a bot that has never ticked has no `seq`."""

    time: str
    """ISO 8601, in UTC."""
    level: Level
    bot: str
    text: str
    worker: str = ""
    release: str = ""
    deployment: int = 0
    """The deployment that the worker was started for, or that the supervisor's line is about."""
    epoch: int = 0
    seq: int | None = None
    """The tick that ran when the line was written, or the last tick before it."""
    event: str = ""
    """The type of the supervisor's event that the line is about."""
    fields: dict[str, Any] = {}
    """What the bot printed, if it was a JSON object."""


_decoder = msgspec.json.Decoder(LogLine)


def encode_line(line: LogLine) -> bytes:
    """The line as JSON, with its newline."""
    return msgspec.json.encode(line) + b"\n"


def encode_text(time: str, level: Level, worker: str, release: str, text: str) -> bytes:
    """A line as text, with its newline; `worker` and `release` are names without blanks, or ""."""
    line = f"{time} {level:<7} {worker or _NONE} {release or _NONE} | {text}\n"
    return line.encode(errors="backslashreplace")


def decode_line(text: str) -> LogLine | None:
    """The line in `text`, in JSON or as text; None if it has another form."""
    if text.startswith('{"time":'):
        try:
            return _decoder.decode(text)
        except UNDECODABLE:
            return None
    found = _TEXT.match(text)
    if found is None:
        return None
    time, level, worker, release, message = found.groups()
    return LogLine(
        time,
        _WORDS[level],
        "",
        message,
        worker="" if worker == _NONE else worker,
        release="" if release == _NONE else release,
    )


def level_of(text: str, before: Level = "info") -> Level:
    """The level of a printed line; `before` is that of the line before, which the lines of a traceback share."""
    if _PERHAPS.search(text, 0, _LOOKED_AT):
        word = _WORD.search(text, 0, _LOOKED_AT)
        if word is not None:
            return _WORDS[(word[1] or word[2]).lower()]
    return "error" if _is_traceback(text, before) else "info"


def level_named(name: object) -> Level | None:
    """The level with this name in any of its spellings, None if there is none."""
    return _WORDS.get(name.lower()) if isinstance(name, str) else None


def _is_traceback(text: str, before: Level) -> bool:
    """Whether a line begins a traceback, is indented below one, or names the exception."""
    if _TRACEBACK.match(text):
        return True
    return before == "error" and (text[:1] in (" ", "\t", "") or bool(_RAISED.match(text)))
