"""The process of a feed: it imports the author's function, becomes the feed, and calls it.

Importing comes first, and can take long. Only then does the process wait until no other one is the feed: so a restart
interrupts the feed for as long as it takes to pass on a lock, and a function that can't be imported interrupts nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from ...protocol.assignment import Assignment, AssignmentError
from ...protocol.endpoint import endpoint
from ...protocol.errors import NeverblinkError
from ...protocol.feed_assignment import FEED_VARIABLE, FeedAssignment, decode_feed_assignment
from ...protocol.feed_file import FeedRecord
from ...protocol.feed_ring import FeedRing
from ...protocol.feed_wire import FeedReport, feed_socket
from ...protocol.lease import started_of
from ...protocol.text import clean
from ..io.find_module import import_module
from ..io.identity import mark_worker
from ..io.output import capture_output, report, report_exception
from ..io.release_dir import describe, make_read_only
from .fan_out import BoundListener, FanOut
from .feed import Feed, FeedError
from .feed_file import FeedFile, next_record

__all__ = ["FeedProcess", "check_function", "find_function", "run_feed"]

_LARGEST_ASSIGNMENT = 65536
_END_WITHIN = 5.0
"""How long the author's function may take to end, s."""
_DRAIN_WITHIN = 1.0
_PR_SET_PDEATHSIG = 1


class FeedTargetError(NeverblinkError):
    """The function that the configuration names is not there, or is not a function."""


def run_feed() -> int:
    """Run the feed that this process was started for; return the exit status."""
    me = _assignment()
    if me.ends_with_parent:
        # Its output is the bot's own, and has no lines of a log.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if _has_ended(me.starter):
            return 0
        return FeedProcess(me, find_function(me.target)).run()
    capture_output(
        Assignment(
            bot=me.bot,
            worker=f"feed-{me.feed}",
            release=me.release,
            run=me.run,
            lease="",
            journal="",
            log=me.log,
            log_file=me.log_file,
            log_size=me.log_size,
            log_keep=me.log_keep,
        )
    )
    make_read_only(Path.cwd(), Path(me.run))
    mark = mark_worker(me.home_key, me.home_id, "feed")
    try:
        function = find_function(me.target)
    except BaseException as problem:
        reason = _why_not(me.target, problem)
        _tell_ready(me, clean(reason))
        report(f"neverblink: {clean(reason)}")
        return 1
    _tell_ready(me, "ready")
    try:
        return FeedProcess(me, function).run()
    finally:
        if mark is not None:
            mark.close()


def check_function(target: str) -> str:
    """Import the function, and do not call it; return why it is not one that can run as a feed, "" when it can."""
    try:
        find_function(target)
    except BaseException as problem:
        return clean(_why_not(target, problem))
    return ""


def find_function(target: str) -> Callable[[Feed], Any]:
    """Import MODULE:FUNCTION and return it. Raises `FeedTargetError`, and whatever the module raises."""
    module_name, _, name = target.partition(":")
    module = import_module(module_name, f"feed {target}", FeedTargetError)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise FeedTargetError(f"feed {target}: module {module_name} has no {part}")
        found = getattr(found, part)
    if not callable(found) or isinstance(found, type):
        kind = "a class" if isinstance(found, type) else f"a {type(found).__name__}"
        raise FeedTargetError(f"feed {target}: {name} is {kind}, expected a function that takes the feed")
    try:
        inspect.signature(found).bind(None)
    except TypeError:
        raise FeedTargetError(
            f"feed {target}: {name} must take one argument, the feed: `async def {name}(feed)`"
        ) from None
    except ValueError:
        # A function without a signature that Python knows, such as one of an extension.
        pass
    if inspect.isasyncgenfunction(found) or inspect.isgeneratorfunction(found):
        raise FeedTargetError(
            f"feed {target}: {name} is a generator: call feed.publish(data) instead of yield"
        )
    return found


class FeedProcess:
    """One feed that runs in this process. Make it in the main thread."""

    def __init__(self, me: FeedAssignment, function: Callable[[Feed], Any]) -> None:
        self._me = me
        self._function = function
        self._refused = 0
        self._resumes: deque[tuple[int, bytes]] = deque()
        """The values of `resume` whose events not every subscriber was sent yet, with the events' numbers."""
        self._began = self._at = 0
        self._blackout = 0
        self._stopped = False
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._directory = -1

    def run(self) -> int:
        """Become the feed and call the function until it ends; return the exit status."""
        me = self._me
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        parent = os.getppid()
        file = FeedFile(Path(me.file))
        try:
            before = file.lock(lambda: os.getppid() == parent and not _has_ended(me.starter))
        except SystemExit:
            return 0
        if file.problem:
            report(
                f"WARNING: neverblink: {file.problem}: the next process will not know where this feed stood"
            )
        now = time.time()
        record = FeedRecord(
            0,
            max(int(now), before.run + 1 if before is not None else 1),
            0,
            0,
            before.resume if before is not None else b"",
            os.getpid(),
            started_of(Path("/proc/self/stat").read_bytes()),
            me.release,
            0,
            me.target,
            me.settings,
            me.log_file,
        )
        self._record = next_record(before, record)
        self._file = file
        file.write(self._record)
        self._ended_before = before.ended if before is not None else 0
        self._ring = FeedRing(record.run, me.buffer)
        self._fan_out = FanOut(
            self._ring,
            self._listen,
            me.key,
            (before.run, before.n) if before is not None else None,
            self._report,
            self._look_after,
        )
        self.feed = Feed(
            me.feed,
            self._publish,
            most_bytes=me.buffer,
            resume=record.resume,
            refused=self._count_refused,
        )
        self._fan_out.start()
        try:
            return self._call()
        finally:
            self._end()

    # publishing

    def _publish(self, entry: bytes, resume: bytes | None) -> int:
        fan_out = self._fan_out
        with fan_out.lock:
            if self._stopped:
                raise FeedError(self._me.feed, "it has ended, and publishes no more")
            record = self._record
            n = self._ring.add(entry)
            self._at = at = time.time_ns()
            fan_out.added(at_once=resume is not None)
            if resume is not None:
                self._resumes.append((n, resume))
            # A value that is recorded has left this process, with the event that it belongs to.
            point = self._resume_delivered(record.resume)
            self._record = FeedRecord(
                record.count + 1,
                record.run,
                n,
                at,
                point,
                record.pid,
                record.started,
                record.release,
                0,
                record.target,
                record.settings,
                record.log,
            )
            self._file.write(self._record)
        return n

    def _resume_delivered(self, before: bytes) -> bytes:
        """The newest value whose event every subscriber was sent; `before` when there is no newer one."""
        resumes = self._resumes
        if resumes:
            delivered = self._fan_out.delivered
            while resumes and resumes[0][0] <= delivered:
                before = resumes.popleft()[1]
        return before

    def _count_refused(self) -> None:
        self._refused += 1

    def _look_after(self) -> None:
        if not self._stopped:
            self._record_resume()
            self._file.restore(self._record)

    def _record_resume(self) -> None:
        """Record what was sent since the last event. The caller holds the lock."""
        record = self._record
        resume = self._resume_delivered(record.resume)
        if resume != record.resume:
            self._record = msgspec.structs.replace(record, count=record.count + 1, resume=resume)
            self._file.write(self._record)

    def _report(self) -> FeedReport:
        me = self._me
        return FeedReport(
            me.feed,
            os.getpid(),
            me.release,
            0,
            0,
            self._at,
            self._began,
            refused=self._refused,
            blackout=self._blackout,
        )

    # the function

    def _call(self) -> int:
        name = self._me.target.partition(":")[2]
        self._began = time.time_ns()
        if self._ended_before:
            self._blackout = max(0, time.monotonic_ns() - self._ended_before)
        try:
            if self.feed.stopping.is_set():
                return 0
            returned = self._function(self.feed)
            if inspect.isawaitable(returned):
                asyncio.run(self._await(returned))
        except (asyncio.CancelledError, SystemExit, KeyboardInterrupt) as problem:
            if self.feed.stopping.is_set():
                return 0
            report(f"neverblink: feed {self._me.feed}: {name} ended itself by {type(problem).__name__}")
            return 1
        except BaseException as problem:
            if self.feed.stopping.is_set():
                report_exception(problem)
                return 0
            report_exception(problem)
            report(f"neverblink: feed {self._me.feed}: {name} raised {describe(problem)}")
            return 1
        if self.feed.stopping.is_set():
            return 0
        report(
            f"neverblink: feed {self._me.feed}: {name} returned, and a feed's function must not: publish in a loop"
        )
        return 1

    async def _await(self, returned: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        try:
            await returned
        finally:
            self._task = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopped or self.feed_is_stopping():
            return
        self._watch_end()
        if self._task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        else:
            # In the main thread: `finally` and `with` of a plain function run.
            raise SystemExit(0)

    def feed_is_stopping(self) -> bool:
        """Note that the feed is to end; return whether that was known."""
        feed = getattr(self, "feed", None)
        if feed is None:
            return False
        known = feed.stopping.is_set()
        feed.stopping.set()
        return known

    def _watch_end(self) -> None:
        def late() -> None:
            report(
                f"WARNING: neverblink: feed {self._me.feed} did not end within {_END_WITHIN:.0f}s: exiting"
            )
            self._end()
            os._exit(1)

        timer = threading.Timer(_END_WITHIN, late)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        with self._fan_out.lock:
            if self._stopped:
                return
            self._stopped = True
            self._record = msgspec.structs.replace(
                self._record, count=self._record.count + 1, ended=time.monotonic_ns()
            )
            self._file.write(self._record)
        self._fan_out.drain(_DRAIN_WITHIN)
        with self._fan_out.lock:
            self._record_resume()
        self._fan_out.close()
        # Not only at the end of the process: the next one waits.
        self._file.unlock()
        if self._directory >= 0:
            os.close(self._directory)

    def _listen(self) -> BoundListener:
        name = feed_socket(self._me.feed)
        try:
            return BoundListener(self._path(name), self._path(f"{name}.new"))
        except OSError as problem:
            raise NeverblinkError(
                f"socket {name} in {self._me.run} can't be made: {problem.strerror}"
            ) from None

    def _path(self, name: str) -> str:
        return endpoint(self._me.run, name, self._open_directory).removeprefix("ipc://")

    def _open_directory(self, directory: str) -> int:
        if self._directory < 0:
            self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._directory


def _has_ended(starter: int) -> bool:
    if not starter:
        return False
    try:
        os.kill(starter, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _assignment() -> FeedAssignment:
    value = os.environ.pop(FEED_VARIABLE, "")
    try:
        with open(int(value), "rb") as pipe:
            return decode_feed_assignment(pipe.read(_LARGEST_ASSIGNMENT))
    except (ValueError, OSError):
        raise AssignmentError(
            f"{FEED_VARIABLE} is {value!r}: `python -m neverblink.worker.feeds` is what the supervisor runs for "
            "[feeds] in the configuration"
        ) from None


def _why_not(target: str, problem: BaseException) -> str:
    """Why the function could not be imported. Importing may raise anything, SystemExit included."""
    if isinstance(problem, NeverblinkError):
        return problem.message
    report_exception(problem)
    return f"importing {target.partition(':')[0]} failed: {describe(problem)}"


def _tell_ready(me: FeedAssignment, text: str) -> None:
    if me.ready < 0:
        return
    with suppress(OSError):
        os.write(me.ready, text.encode()[:4096])
    with suppress(OSError):
        os.close(me.ready)
