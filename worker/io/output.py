"""The output of a worker: `sys.stdout` and `sys.stderr` as streams that never fail and write whole log lines.

`print`, `logging`, `warnings` and tracebacks, the bot's and ours, all go through them. If the log cannot be written,
the line is lost and counted, and the bot goes on. A supervised worker's lines have time, level, worker and release, as
text or as JSON. The output of a bot that runs alone is not changed.

Output that bypasses Python (C code, child processes), or goes to `.buffer`, is written to the same file unchanged.
"""

from __future__ import annotations

import atexit
import functools
import io
import os
import select
import stat
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Any, Protocol

import msgspec

from ...protocol.assignment import Assignment
from ...protocol.logline import (
    Format,
    Level,
    LogLine,
    encode_line,
    encode_text,
    level_named,
    level_of,
)
from ...protocol.wire import UNDECODABLE
from .log_file import LogFile

__all__ = ["WorkerOutput", "capture_output", "report", "report_exception", "unfailing_output"]

_LONGEST = 64 * 1024
"""A line without an end is written after this many characters."""
_STALLED_AFTER_MS = 250
"""How long a reader of a pipe or a terminal may keep this process waiting, once."""
_TEXTS = ("message", "msg", "event", "text")
"""The keys of the text in the JSON of logging libraries."""
_LEVELS = ("level", "levelname", "severity")
"""The keys of the level."""

Position = tuple[int, int | None]
"""Epoch, and the tick that runs or ran last."""


class Sink(Protocol):
    """A destination of lines. `write` never raises; it returns whether the line was written."""

    problem: str

    def write(self, data: bytes) -> bool: ...
    def look(self) -> None: ...


class WorkerOutput:
    """Writes the lines of one worker. `position` returns the bot's position; set it when there is a bot.

    `sinks` are the destinations of descriptors 1 and 2, mostly the same one.
    """

    def __init__(self, me: Assignment, sinks: tuple[Sink, Sink]) -> None:
        self.position: Callable[[], Position] = lambda: (0, None)
        self.lock = RLock()
        self._me = me
        self._format: Format = me.log
        self._sinks: dict[int, Sink] = dict(zip((1, 2), sinks, strict=True))
        self._before: Level = "info"
        self._lost = 0
        self._problem = ""
        self._second = 0
        self._stamp = ""
        # A child may be forked while another thread holds the lock.
        os.register_at_fork(after_in_child=self._renew)

    def line(self, descriptor: int, text: str) -> None:
        """Write one line. Never raises."""
        sink = self._sinks[descriptor]
        with self.lock:
            fields = _object(text)
            if fields:
                level = _level_in(fields)
                if self._format == "json":
                    text = _text_in(fields) or text
            else:
                level = level_of(text, self._before)
            self._before = level
            if self._lost and self._write(
                sink,
                f"neverblink: {self._lost} lines before this one could not be written: {self._problem}",
                "warning",
                {},
            ):
                self._lost = 0
            if not self._write(sink, text, level, fields):
                self._lost += 1
                self._problem = sink.problem

    def raw(self, descriptor: int, data: bytes) -> None:
        """Write bytes unchanged. Never raises."""
        with self.lock:
            self._sinks[descriptor].write(data)

    def look(self) -> None:
        """Check the log file, also when nothing is printed. Never raises."""
        with self.lock:
            self._sinks[1].look()

    def _write(self, sink: Sink, text: str, level: Level, fields: dict[str, Any]) -> bool:
        me = self._me
        if self._format == "text":
            return sink.write(encode_text(self._now(), level, me.worker, me.release, text))
        epoch, seq = self.position()
        line = LogLine(
            self._now(),
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
        return sink.write(_encoded(line))

    def _now(self) -> str:
        now = time.time_ns()
        second = now // 1_000_000_000
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{now % 1_000_000_000 // 1000:06d}Z"

    def _renew(self) -> None:
        self.lock = RLock()


class DescriptorSink:
    """Writes to an inherited descriptor: of a bot that runs alone, or under an older supervisor.

    A reader that has stopped (a full pipe, a stopped terminal) delays the process once, and not again until it reads.
    """

    def __init__(self, descriptor: int) -> None:
        self.problem = ""
        self._descriptor = descriptor
        self._stalled = False
        self._poll: select.poll | None = None
        with suppress(OSError):
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._poll = select.poll()
                self._poll.register(descriptor, select.POLLOUT)

    def write(self, data: bytes) -> bool:
        try:
            while data:
                if self._poll is not None:
                    self._stalled = not self._poll.poll(0 if self._stalled else _STALLED_AFTER_MS)
                    if self._stalled:
                        self.problem = "the reader of the pipe or terminal has stopped"
                        return False
                # A descriptor that is ready accepts at least PIPE_BUF without blocking.
                data = data[os.write(self._descriptor, data[: select.PIPE_BUF] if self._poll else data) :]
        except OSError as problem:
            self.problem = problem.strerror or type(problem).__name__
            return False
        return True

    def look(self) -> None: ...


class _Raw(io.RawIOBase):
    """The binary side of a stream: passes on what is written, and never fails."""

    def __init__(self, descriptor: int, write: Callable[[bytes], object]) -> None:
        self._descriptor = descriptor
        self._write = write

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any, /) -> int:
        content = bytes(data)
        self._write(content)
        return len(content)

    def close(self) -> None:
        """Stay open."""


class _Stream(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr`: passes on whole lines, and keeps an unfinished line until its end."""

    def __init__(self, output: WorkerOutput, descriptor: int) -> None:
        raw: Any = _Raw(descriptor, functools.partial(output.raw, descriptor))
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
        self._output = output
        self._descriptor = descriptor
        self._rest = ""

    def write(self, text: str, /) -> int:
        with self._output.lock:
            if "\n" in text:
                *lines, self._rest = (self._rest + text).split("\n")
                for line in lines:
                    self._output.line(self._descriptor, line)
            else:
                self._rest += text
            if len(self._rest) > _LONGEST:
                self.end()
        return len(text)

    def end(self) -> None:
        """Write the unfinished line."""
        rest, self._rest = self._rest, ""
        if rest:
            self._output.line(self._descriptor, rest)

    def close(self) -> None:
        """Stay open, for output that comes later."""
        self.end()


class _Plain(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr` of a bot that runs alone, unchanged."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        raw: Any = _Raw(descriptor, DescriptorSink(descriptor).write)
        super().__init__(raw, encoding=encoding, errors="backslashreplace", write_through=True)

    def close(self) -> None:
        """Stay open."""


def capture_output(me: Assignment) -> WorkerOutput:
    """Replace this process's output streams by ones that write log lines, as its assignment says."""
    if me.log_file:
        file = LogFile(me.log_file, me.log_size, me.log_keep)
        output = WorkerOutput(me, (file, file))
    else:
        output = WorkerOutput(me, (DescriptorSink(1), DescriptorSink(2)))
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = _Stream(output, descriptor)
        _install(name, stream)
        atexit.register(stream.end)
    return output


def unfailing_output() -> None:
    """Replace this process's output streams by ones that print the same but never raise."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        before: Any = getattr(sys, name)
        if before is None:
            # The caller closed it, and another file may have its descriptor by now.
            _install(name, _Plain(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), "utf-8"))
        elif isinstance(before, io.TextIOWrapper) and before is getattr(sys, f"__{name}__"):
            _install(name, _Plain(descriptor, before.encoding))


def report(text: str) -> None:
    """Print a line of neverblink to standard error. Never raises, even if the bot replaced the stream."""
    _report(f"{text}\n")


def report_exception(problem: BaseException) -> None:
    """Print a traceback to standard error. Never raises."""
    _report("".join(traceback.format_exception(problem)))


def _report(text: str) -> None:
    with suppress(Exception):
        sys.stderr.write(text)
        sys.stderr.flush()


def _install(name: str, stream: io.TextIOWrapper) -> None:
    before: Any = getattr(sys, name)
    with suppress(Exception):
        before.flush()
    setattr(sys, name, stream)
    # The original streams, for code that restores them.
    setattr(sys, f"__{name}__", stream)


def _encoded(line: LogLine) -> bytes:
    """Encode as JSON, without what JSON cannot express: half a surrogate pair, or an integer of more than 64 bits."""
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
