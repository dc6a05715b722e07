"""The demo's display: the ticks, coloured by the version that ran them, and the acts below.

`DemoPicture` receives what happens; `Lines` prints it as plain lines, for pipes and logs, and `Live` draws it on a
terminal.
"""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from ...protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    PhaseChanged,
    StepDone,
)
from ..system.format import last
from ..terminal.console import SafeConsole
from ..terminal.deployment_screen import DeploymentScreen
from ..terminal.screen import Screen
from .acts import ACTS, Act, Played
from .strip import StripCell, VersionStrip

__all__ = ["DemoPicture", "Lines", "Live", "picture_for"]

COLOURS = {"v1": "cyan", "v2": "green", "v3": "magenta", "v7": "red"}
"""A version's colour; versions that never lead need none."""

_ROWS = 6
_PHASES = {
    "preparing": "starting the new process",
    "rehearsing": "rehearsing on the live state",
    "prepared": "waiting for its turn",
    "waiting": "waiting for a boundary",
    "cancelling": "cancelling",
    "transferring": "handing over",
    "probation": "probation: the old process follows along",
    "reverting": "the old process takes the bot back",
    "retiring": "the old process leaves",
}


class DemoPicture:
    """Receives what happens; shows nothing. `acts` are the acts of the run."""

    def __init__(self, acts: tuple[Act, ...]) -> None:
        self.acts = acts
        self.played: list[Played] = []
        self.strip: VersionStrip | None = None

    def begin(self, strip: VersionStrip) -> None:
        """The bot has started."""
        self.strip = strip

    def say(self, text: str) -> None:
        """A note that is neither an event nor an act."""

    def take(self, event: Event) -> None:
        """Something happened."""

    def play(self, act: Act) -> None:
        """An act begins."""

    def ended(self, played: Played) -> None:
        """An act has ended."""
        self.played.append(played)

    def draw(self) -> None:
        """Called regularly."""

    def close(self) -> None:
        """The demo is over."""


class Lines(DemoPicture):
    """Prints a line on `out` for each thing that happens, and the strip at the end."""

    def __init__(self, acts: tuple[Act, ...], out: TextIO) -> None:
        super().__init__(acts)
        self._screen = Screen(out)
        self._progress: DeploymentScreen | None = None

    def say(self, text: str) -> None:
        self._screen.line(text)

    def take(self, event: Event) -> None:
        if isinstance(event, DeploymentStarted):
            self._progress = DeploymentScreen(self._screen, event.deployment, time.time_ns)
        if self._progress is not None:
            self._progress.take(event)

    def play(self, act: Act) -> None:
        self._screen.line(f"{_verb(act)}: {act.title}")

    def ended(self, played: Played) -> None:
        super().ended(played)
        mark = self._screen.bad("✗") if played.wrong else self._screen.good("✓")
        self._screen.line(f"  {mark} {_outcome_text(played)}")

    def close(self) -> None:
        rows = self.strip.rows(100) if self.strip is not None else []
        if rows:
            self._screen.line(
                "the ticks, ten per character, by the version that ran them (* a handoff, _ no ticks):"
            )
        for row in rows:
            self._screen.line("  " + "".join(_letter(cell) for cell in row))


class Live(DemoPicture):
    """Draws on a terminal ten times a second."""

    def __init__(self, acts: tuple[Act, ...], console: Console) -> None:
        super().__init__(acts)
        self._message = ""
        self._act: Act | None = None
        self._phase = ""
        self._since = time.monotonic()
        self._live = RichLive(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def say(self, text: str) -> None:
        self._message = text
        self.draw()

    def take(self, event: Event) -> None:
        match event:
            case PhaseChanged():
                self._enter(_PHASES.get(event.phase, event.phase))
            case StepDone(step="holding"):
                self._phase = f"waiting for a boundary: held by {event.facts.get('reason', event.text)}"
            case DeploymentStarted():
                self._enter(_PHASES["preparing"])
            case DeploymentEnded():
                self._enter("")
            case _:
                pass

    def play(self, act: Act) -> None:
        self._act = act
        self._enter("copying the code to an immutable release")

    def ended(self, played: Played) -> None:
        super().ended(played)
        self._act = None
        self.draw()

    def draw(self) -> None:
        self._live.update(self._render(), refresh=True)

    def close(self) -> None:
        self._act = None
        self.draw()
        self._live.stop()

    def _enter(self, phase: str) -> None:
        self._phase, self._since = phase, time.monotonic()

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [Text("neverblink demo", style="bold")]
        if self.strip is not None:
            parts += [self._draw_row(row) for row in self.strip.rows(_ROWS)]
            parts.append(
                Text.assemble(
                    *((f" {version} ", COLOURS[version]) for version in COLOURS),
                    ("  █ the bot snipes: no handoff begins   ▂ other ticks   ◆ a handoff", "dim"),
                )
            )
        parts += [Text(), self._draw_acts()]
        if self._act is None and self._message:
            parts += [Text(), Text(self._message)]
        return Group(*parts)

    def _draw_row(self, row: list[StripCell]) -> Text:
        text = Text("  ")
        for cell in row:
            if cell.handoff:
                text.append("◆", style=f"bold {COLOURS.get(cell.handoff, 'white')}")
            elif cell.version:
                text.append("█" if cell.window else "▂", style=COLOURS.get(cell.version, "white"))
            else:
                text.append("░" if cell.window else " ", style="dim")
        return text

    def _draw_acts(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for place, act in enumerate(self.acts):
            if place < len(self.played):
                played = self.played[place]
                mark = Text("✗", "bold red") if played.wrong else Text("✓", "bold green")
                table.add_row(
                    mark,
                    _verb(act),
                    act.title,
                    Text(_outcome_text(played), overflow="ellipsis", no_wrap=True),
                )
            elif act is self._act:
                took = f"{time.monotonic() - self._since:.1f} s"
                table.add_row(
                    Text("…", "yellow"), _verb(act), act.title, Text(f"{self._phase}  {took}", "yellow")
                )
            else:
                table.add_row(" ", Text(_verb(act), "dim"), Text(act.title, "dim"), "")
        return table


def picture_for(out: TextIO, acts: tuple[Act, ...] = ACTS) -> DemoPicture:
    """The display for `out`: a terminal or a file."""
    console = SafeConsole(out)
    return Live(acts, console) if console.is_terminal and not console.is_dumb_terminal else Lines(acts, out)


def _verb(act: Act) -> str:
    return "rollback" if act.back else f"deploy {act.version}"


def _outcome_text(played: Played) -> str:
    """How an act ended, in one line."""
    result = played.result
    parts = [played.outcome.replace("_", " ")]
    if played.outcome == "done":
        if result.get("blackout_us") is not None:
            parts.append(f"blackout {last(int(result['blackout_us'] * 1000))}")
        if result.get("seq") is not None:
            parts.append(f"{played.leads} leads from tick {result['seq']} on")
    else:
        parts += [played.reason, f"{played.leads or 'no version'} leads"]
    return ", ".join(part for part in parts if part)


def _letter(cell: StripCell) -> str:
    if cell.handoff:
        return "*"
    return cell.version.removeprefix("v")[:1] or "_"
