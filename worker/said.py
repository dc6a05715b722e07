"""What a worker prints, as JSON lines that say who, when, and at which tick.

It stands in place of `sys.stdout` and `sys.stderr`, so that `print` and every `logging` handler write through it. What
is written past Python, or to `.buffer`, goes into the same file as it is. A log that cannot be written is no reason for
a tick to fail: the line is lost.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from threading import RLock
from typing import Any, TextIO

import msgspec

from ..protocol.assignment import Assignment
from ..protocol.logline import Level, LogLine, encode_line, level_named, level_of
from ..protocol.wire import UNDECODABLE

__all__ = ["Said", "say_in_json"]

_LONGEST = 64 * 1024
_TEXTS = ("message", "msg", "event", "text")
"""Where the libraries that log in JSON have the text,"""
_LEVELS = ("level", "levelname", "severity")
"""and where the level."""

Stands = tuple[int, int | None]
"""Epoch, and the tick that runs or ran last."""


class Said:
    """The two streams of a process. `stands` says where its worker is, as soon as there is one."""

    def __init__(self, me: Assignment) -> None:
        self.stands: Callable[[], Stands] = lambda: (0, None)
        self._me = me
        self._before: Level = "info"
        self.lock = RLock()
        # A child of the bot's may be forked while another thread writes.
        os.register_at_fork(after_in_child=self._renew)

    def line(self, descriptor: int, text: str) -> None:
        """Write one line."""
        epoch, seq = self.stands()
        me = self._me
        with self.lock:
            fields = _object(text)
            if fields:
                text, level = _text_in(fields) or text, _level_in(fields)
            else:
                level = level_of(text, self._before)
            self._before = level
            now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="microseconds")
            line = LogLine(
                now.replace("+00:00", "Z"),
                level,
                me.bot,
                text,
                worker=me.worker,
                release=me.release,
                deployment=me.deployment,
                epoch=epoch,
                seq=seq,
                fields=fields,
            )
            with suppress(OSError):
                os.write(descriptor, _encoded(line))

    def _renew(self) -> None:
        self.lock = RLock()


class _Stream(io.TextIOWrapper):
    """One of the two: whole lines go to `said`, and a beginning waits for its end."""

    def __init__(self, said: Said, stream: TextIO) -> None:
        super().__init__(stream.buffer, encoding="utf-8", errors="backslashreplace", write_through=True)
        self._said = said
        self._descriptor = stream.fileno()
        self._rest = ""

    def write(self, text: str, /) -> int:
        with self._said.lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._said.line(self._descriptor, line)
            if len(self._rest) > _LONGEST:
                self.end()
        return len(text)

    def end(self) -> None:
        """Write what has no end yet, as a line."""
        rest, self._rest = self._rest, ""
        if rest:
            self._said.line(self._descriptor, rest)


def say_in_json(me: Assignment) -> Said:
    """From here on, have this process print in JSON."""
    said = Said(me)
    for name in ("stdout", "stderr"):
        before: TextIO = getattr(sys, name)
        before.flush()
        stream = _Stream(said, before)
        setattr(sys, name, stream)
        atexit.register(stream.end)
    return said


def _encoded(line: LogLine) -> bytes:
    """As JSON, also what JSON cannot say: half a surrogate pair, or an integer of more than 64 bits."""
    try:
        return encode_line(line)
    except UNDECODABLE:
        text = line.text.encode(errors="backslashreplace").decode()
        return encode_line(msgspec.structs.replace(line, text=text, fields={}))


def _level_in(fields: dict[str, Any]) -> Level:
    for key in _LEVELS:
        level = level_named(fields.get(key))
        if level is not None:
            return level
    return "info"


def _text_in(fields: dict[str, Any]) -> str:
    return next((text for key in _TEXTS if isinstance(text := fields.get(key), str)), "")


def _object(text: str) -> dict[str, Any]:
    if not text.startswith("{") or not text.endswith("}"):
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except UNDECODABLE:
        return {}
