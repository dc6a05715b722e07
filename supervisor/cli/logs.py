"""logs: the output of workers and supervisor, past and current, merged by time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.logline import SUPERVISOR, Level
from ..audit.scope import Moment
from ..system.tail import LogTail, last_lines
from ..terminal.screen import Screen
from .audit import bound
from .command import Done, local_command
from .completion import complete_release
from .context import CommandContext
from .exit_codes import BadInput
from .log_merge import (
    LineFilter,
    MergedLine,
    Reader,
    Timed,
    merged,
    shortened,
)
from .releases import open_history
from .results import say_json

__all__ = ["logs"]

_LOOK_EVERY = 0.2
_KNOWN_WITHIN = 2.0
_OURS = f"{SUPERVISOR}.log"
"""The supervisor's own log, beside the workers'."""
_COLOURS = ("cyan", "magenta", "yellow", "blue", "green")
_LOOKED_THROUGH = 200_000
"""The number of lines of a file that are searched for matching ones."""


@local_command
@click.option("-f", "--follow", is_flag=True, help="Follow new output, across handoffs, until Ctrl-C.")
@click.option(
    "-R",
    "--release",
    default="",
    metavar="RELEASE",
    shell_complete=complete_release,
    help="Only this release: its id or a part of it.",
)
@click.option(
    "-w", "--worker", default="", metavar="WORKER", help="Only this worker, such as w3, or `supervisor`."
)
@click.option("--feed", default="", metavar="FEED", help="Only this feed.")
@click.option("--level", type=click.Choice(get_args(Level)), default=None, help="Only this level and above.")
@click.option(
    "--deployment",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Only deployment N.",
)
@click.option("--since", metavar="TIME", default="", help="Only since this time, or this duration ago.")
@click.option(
    "-n",
    "--lines",
    default=50,
    show_default=True,
    type=click.IntRange(0, 1_000_000),
    help="How many lines to start with.",
)
def logs(
    context: CommandContext,
    follow: bool,
    release: str,
    worker: str,
    feed: str,
    level: Level | None,
    deployment: int | None,
    since: str,
    lines: int,
) -> Done:
    """Show the workers' output, each line marked with its release and worker.

    Lines of several workers are sorted by time. Text and JSON lines (`log.format`) are both read. The level of a line
    that has none (from C code or a child process) is the level's name near its beginning; a traceback is an error. A
    line without a time gets the time of the line before it, else of the one after it. Long lines are cut; --json shows
    more of them. The supervisor's own lines are included with --deployment and with `--worker supervisor`.

    With --json, prints one object with all lines; with -f, one object per line.
    """
    if not context.home.logs.is_dir():
        raise BadInput(f"home {context.home.path}: there are no logs yet: `neverblink up` starts them")
    if feed and worker:
        raise BadInput("--feed and --worker exclude each other: name one of them")
    worker = worker or (f"feed-{feed}" if feed else "")
    wanted = LineFilter(level, deployment or 0, _since(since))
    filters = _Book(context, release, worker, wanted)
    if feed and not filters.files():
        raise BadInput(f"there is no log of feed {feed!r} in {context.home.logs}: see `neverblink feed`")
    if worker and not filters.files():
        raise BadInput(
            f"there is no log of {worker!r} in {context.home.logs}: name a worker as in `status`, such as w3"
        )
    show = _Show(context.screen)
    tails: dict[Path, LogTail] = {}
    of_each: list[list[Timed]] = []
    for path in filters.files():
        texts, place = last_lines(path, lines if wanted.all else _LOOKED_THROUGH)
        tails[path] = LogTail(path, place)
        of_each.append(list(filters.lines(path, texts)))
    found = merged(of_each)
    found = found[-lines:] if lines else []
    if not follow:
        for line in found:
            show.line(line)
        return Done({"lines": msgspec.to_builtins(found)})
    say = say_json if context.as_json else show.line
    for line in found:
        say(line)
    try:
        while True:
            of_each = [
                list(filters.lines(path, tails.setdefault(path, LogTail(path)).look()))
                for path in filters.files(patient=True)
            ]
            for line in merged(of_each):
                if not say(line):
                    return Done()
            time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        # Ctrl-C is the normal end of following, so the exit code is 0.
        return Done()


def _since(text: str) -> int | None:
    found = bound("--since", text, time.time_ns())
    if found is None:
        return None
    if not isinstance(found, Moment):
        raise BadInput(f"--since {text}: expected a time such as 14:05:09, or a duration such as 10m")
    return found.value


class _Book:
    """Knows which log file belongs to which worker, and selects lines."""

    def __init__(self, context: CommandContext, release: str, worker: str, wanted: LineFilter) -> None:
        self._here = context
        self._release = release
        self._worker = worker
        self._wanted = wanted
        self._owners: dict[str, tuple[str, str]] = {}
        """Release and worker by file name, in the order in which the workers started."""
        self._readers: dict[Path, Reader] = {}
        self._started: str | None = None
        """The worker that the selected deployment started, once known."""

    def files(self, *, patient: bool = False) -> list[Path]:
        """The selected log files, in the order in which their workers started.

        A file appears a moment before the history has its worker: with `patient`, such a file waits for the next call.
        """
        logs = self._here.home.logs
        found = [*logs.glob("w*.log"), *logs.glob("feed-*.log")]
        there = {path: path.stat().st_ctime for path in found if path.is_file()}
        if any(path.name not in self._owners for path in there):
            self._learn()
        for path in there:
            if path.name.startswith("feed-"):
                self._owners.setdefault(path.name, ("", path.stem))
        order = {name: place for place, name in enumerate(self._owners)}
        now = time.time()
        wanted = [
            path
            for path, since in there.items()
            if self._is_wanted(path)
            and not (patient and path.name not in order and now - since < _KNOWN_WITHIN)
        ]
        wanted.sort(key=lambda path: (order.get(path.name, len(order)), there[path]))
        ours = self._here.home.logs / _OURS
        if (self._worker == SUPERVISOR or (self._wanted.deployment and not self._worker)) and ours.is_file():
            wanted.append(ours)
        return wanted

    def lines(self, path: Path, texts: Iterator[str] | list[str]) -> Iterator[Timed]:
        reader = self._readers.get(path)
        if reader is None:
            release, worker = self._owner(path)
            reader = self._readers[path] = Reader(worker, release, self._deployment_of(worker))
        try:
            written = path.stat().st_mtime_ns
        except OSError:
            written = time.time_ns()
        early: list[MergedLine] = []
        for text in texts:
            line = reader.read(text)
            if reader.at is not None:
                # Lines before the first one with a time get that time.
                yield from (Timed(reader.at, line) for line in early)
                early.clear()
            if not self._wanted.has(line, reader.at, written):
                continue
            if reader.at is None:
                early.append(line)
            else:
                yield Timed(reader.at, line)
        yield from (Timed(written, line) for line in early)

    def _deployment_of(self, worker: str) -> int:
        """The selected deployment, if it started this worker: text lines do not name it."""
        wanted = self._wanted.deployment
        if not wanted:
            return 0
        if self._started is None:
            try:
                with open_history(self._here.home) as past:
                    steps = past.deployment(wanted).steps
            except NeverblinkError:
                steps = ()
            self._started = next((str(s.facts.get("worker")) for s in steps if s.step == "spawned"), "")
        return wanted if worker == self._started else 0

    def _learn(self) -> None:
        try:
            with open_history(self._here.home) as past:
                known = past.workers(limit=10_000)
        except NeverblinkError:
            return
        for worker in reversed(known):
            self._owners.setdefault(Path(worker.log).name, (worker.release, worker.worker))

    def _owner(self, path: Path) -> tuple[str, str]:
        if path.name == _OURS:
            return "", SUPERVISOR
        return self._owners.get(path.name, ("?", path.stem))

    def _is_wanted(self, path: Path) -> bool:
        release, worker = self._owner(path)
        return self._worker in ("", worker) and (not self._release or self._release in release)


class _Show:
    """Writes lines with their mark, a colour for each release, and errors highlighted."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._colours: dict[str, str] = {}

    def line(self, line: MergedLine) -> bool:
        screen = self._screen
        colour = self._colours.setdefault(line.release, _COLOURS[len(self._colours) % len(_COLOURS)])
        when = f"{screen.faint(line.time[11:23])} " if line.time else ""
        text = {"error": screen.bad, "warning": screen.warn}.get(line.level, str)(shortened(line.text))
        return screen.line(f"{when}{screen.style(f'{line.release} {line.worker} |'.lstrip(), colour)} {text}")
