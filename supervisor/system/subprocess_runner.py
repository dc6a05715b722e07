"""A program that is run for a deployment, out of the bot's way: uv while it builds, the check.

A runner starts it (see `system.runner`), so that all it starts is ended with it: when it has ended, when it is
cancelled, when it takes too long, and when the supervisor is killed. It is nice, asks for the disk last, and stays off
the core where the leader ran, and so does everything it starts, because the runner waits until all of that is set.

What it prints is handed on line by line and not kept. Which process it is is noted in a file: should the runner of a
killed supervisor be there yet, `end_left` ends it before the next supervisor makes anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from ...protocol import duration
from ...protocol.errors import NeverblinkError
from ...protocol.wire import UNDECODABLE
from .cpu_affinity import last_core
from .hidden_files import HiddenFiles
from .process import alive, started_at

__all__ = ["RunCancelled", "SubprocessRunner"]

NICE = 10
"""Enough that a tick which is due does not wait, and not so much that a busy machine never builds."""

_RUNNER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("runner.py")))
_END_WITHIN_S = 5.0
"""What the runner has to end everything; then it is killed itself."""
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LONGEST = 64 * 1024
_LAST_WORDS_S = 1.0
"""How long what it left behind may hold its output open when it has ended."""


class RunCancelled(NeverblinkError):
    """It was ended before it had ended: cancelled, or it took too long."""


class _Left(msgspec.Struct, frozen=True):
    pid: int
    started: int


class SubprocessRunner:
    """Runs one program at a time. `note` is the file for the next supervisor; `leader()` is whom to keep away from.

    That is a pid, or 0 when there is no leader. `hidden` are the files that the programs cannot open.
    """

    def __init__(
        self,
        note: Path,
        leader: Callable[[], int] = lambda: 0,
        hidden: HiddenFiles | None = None,
    ) -> None:
        self._note = note
        self._leader = leader
        self._hidden = hidden or HiddenFiles()
        self._cancelled = ""
        self._running: asyncio.subprocess.Process | None = None

    def open(self) -> None:
        """Forget an earlier cancel: a new deployment begins."""
        self._cancelled = ""

    def cancel(self, why: str) -> None:
        """End what runs, and let nothing more run until `open`."""
        self._cancelled = self._cancelled or why
        if self._running is not None:
            _cancel(self._running)

    async def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        within: int,
        say: Callable[[str], None],
    ) -> int:
        """Run a program to its end; return its exit status, negative for a signal.

        `within` is in ns. Raises `RunCancelled` when it was cancelled or took too long, `NeverblinkError` when it can't
        be run.
        """
        wrapped = await self._hidden.wrap(command, cwd)
        if self._cancelled:
            raise RunCancelled(self._cancelled)
        try:
            process = await asyncio.create_subprocess_exec(
                *(*_RUNNER, *wrapped),
                cwd=cwd,
                env=dict(environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as problem:
            raise NeverblinkError(f"{command[0]} can't be run: {problem.strerror}") from None
        self._running = process
        try:
            self._keep_away(process.pid)
            self._write_note(process.pid)
            assert process.stdin is not None
            process.stdin.write(b"\n")
            async with asyncio.timeout(within / 1e9):
                code = await self._attend(process, say)
        except TimeoutError:
            raise RunCancelled(f"it took longer than {duration.show(within)}") from None
        finally:
            self._running = None
            await asyncio.shield(_end(process))
            with contextlib.suppress(OSError):
                self._note.unlink(missing_ok=True)
        if self._cancelled:
            raise RunCancelled(self._cancelled)
        return code

    def end_left(self) -> str:
        """End what a killed supervisor left running; return what was done, "" for nothing."""
        try:
            left = msgspec.json.decode(self._note.read_bytes(), type=_Left)
        except (OSError, *UNDECODABLE):
            return ""
        self._note.unlink(missing_ok=True)
        if not alive(left.pid, left.started):
            return ""
        _kill(left.pid)
        return f"ended the build of an earlier supervisor (pid {left.pid})"

    async def _attend(self, process: asyncio.subprocess.Process, say: Callable[[str], None]) -> int:
        assert process.stdout is not None
        reading = asyncio.ensure_future(_read(process.stdout, say))
        try:
            code = await process.wait()
            await asyncio.wait([reading], timeout=_LAST_WORDS_S)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        return code

    def _keep_away(self, pid: int) -> None:
        """Set what everything it starts will have too. A courtesy: where the kernel refuses, it runs as it is."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, max(NICE, os.getpriority(os.PRIO_PROCESS, pid)))
        with contextlib.suppress(OSError, psutil.Error):
            psutil.Process(pid).ionice(psutil.IOPRIO_CLASS_IDLE)
        leader = self._leader()
        if leader:
            with contextlib.suppress(OSError, ValueError, IndexError):
                kept = os.sched_getaffinity(pid) - {last_core(leader)}
                if kept:
                    os.sched_setaffinity(pid, kept)

    def _write_note(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            # The file may be a link that others made while they could write there.
            self._note.unlink(missing_ok=True)
            with self._note.open("xb") as file:
                file.write(msgspec.json.encode(_Left(pid, started_at(pid) or 0)))


async def _read(stream: asyncio.StreamReader, say: Callable[[str], None]) -> None:
    rest = b""
    while data := await stream.read(_LONGEST):
        # What is drawn over and over on a terminal is a line each time.
        *lines, rest = (rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            _say(line, say)
        if len(rest) > _LONGEST:
            _say(rest, say)
            rest = b""
    _say(rest, say)


def _say(line: bytes, say: Callable[[str], None]) -> None:
    """Hand on a line as plain text: it goes to other people's terminals."""
    text = _CONTROL.sub("", _ESCAPES.sub("", line.decode(errors="replace"))).rstrip()
    if text:
        say(text)


def _cancel(process: asyncio.subprocess.Process) -> None:
    """Have the runner end everything."""
    assert process.stdin is not None
    process.stdin.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """See to it that nothing of it is left."""
    _cancel(process)
    try:
        async with asyncio.timeout(_END_WITHIN_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        # The runner may have been killed before it could end what it started.
        _kill(process.pid)
    await process.wait()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
