"""logs: what the workers print, old and new ones in one picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from ...protocol.errors import NeverblinkError
from ..tail import Tail, last_lines
from .ending import say_json
from .errors import BadInput
from .here import Here
from .past import open_history
from .screen import Screen
from .shell import complete_release
from .verb import Done, verb

__all__ = ["logs"]

_LOOK_EVERY = 0.2
_KNOWN_WITHIN = 2.0
_OURS = ("supervisor.log", "http.log")
"""The supervisor's own logs lie beside the workers'."""
_COLOURS = ("cyan", "magenta", "yellow", "blue", "green")


class Line(msgspec.Struct, frozen=True):
    release: str
    worker: str
    text: str


@verb
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, across handoffs, until Ctrl-C.")
@click.option(
    "-R",
    "--release",
    default="",
    metavar="RELEASE",
    shell_complete=complete_release,
    help="Only this release: its id, or a part of it.",
)
@click.option(
    "-n",
    "--lines",
    default=50,
    show_default=True,
    type=click.IntRange(0, 1_000_000),
    help="How many to begin with.",
)
def logs(here: Here, follow: bool, release: str, lines: int) -> Done:
    """The workers' output, each line marked with its release and worker.

    With --json one object with all the lines; with -f one object a line.
    """
    if not here.home.logs.is_dir():
        raise BadInput(f"home {here.home.path}: there are no logs yet: they begin with `neverblink up`")
    book = _Book(here, release)
    show = _Show(here.screen)
    tails: dict[Path, Tail] = {}
    found: list[Line] = []
    for path in book.files():
        texts, offset = last_lines(path, lines)
        tails[path] = Tail(path, offset)
        found += book.lines(path, texts)
    found = found[-lines:] if lines else []
    if not follow:
        for line in found:
            show.line(line)
        return Done({"lines": msgspec.to_builtins(found)})
    say = say_json if here.as_json else show.line
    for line in found:
        say(line)
    try:
        while True:
            for path in book.files(patient=True):
                tail = tails.setdefault(path, Tail(path))
                for line in book.lines(path, tail.look()):
                    if not say(line):
                        return Done()
            time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        # The only way this ends, so it ends well.
        return Done()


class _Book:
    """Which log file is whose."""

    def __init__(self, here: Here, wanted: str) -> None:
        self._here = here
        self._wanted = wanted
        self._owners: dict[str, tuple[str, str]] = {}
        """Release and worker by file name, in the order the workers began."""

    def files(self, *, patient: bool = False) -> list[Path]:
        """The log files that are wanted, in the order their workers began.

        A file is there a moment before the history knows whose it is: `patient` leaves such a one for the next look.
        """
        there = {
            path: path.stat().st_ctime
            for path in self._here.home.logs.glob("*.log")
            if path.name not in _OURS
        }
        if any(path.name not in self._owners for path in there):
            self._learn()
        order = {name: place for place, name in enumerate(self._owners)}
        now = time.time()
        wanted = [
            path
            for path, since in there.items()
            if self._is_wanted(path)
            and not (patient and path.name not in order and now - since < _KNOWN_WITHIN)
        ]
        return sorted(wanted, key=lambda path: (order.get(path.name, len(order)), there[path]))

    def lines(self, path: Path, texts: Iterator[str] | list[str]) -> Iterator[Line]:
        release, worker = self._owner(path)
        return (Line(release, worker, text) for text in texts)

    def _learn(self) -> None:
        try:
            with open_history(self._here.home) as past:
                known = past.workers(limit=10_000)
        except NeverblinkError:
            return
        for worker in reversed(known):
            self._owners.setdefault(Path(worker.log).name, (worker.release, worker.worker))

    def _owner(self, path: Path) -> tuple[str, str]:
        return self._owners.get(path.name, ("?", path.stem))

    def _is_wanted(self, path: Path) -> bool:
        release, _ = self._owner(path)
        return not self._wanted or self._wanted in release


class _Show:
    """Writes lines with their mark, a colour for each release."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._colours: dict[str, str] = {}

    def line(self, line: Line) -> bool:
        colour = self._colours.setdefault(line.release, _COLOURS[len(self._colours) % len(_COLOURS)])
        return self._screen.line(
            f"{self._screen.style(f'{line.release} {line.worker} |', colour)} {line.text}"
        )
