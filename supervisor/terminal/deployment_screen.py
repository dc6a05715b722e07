"""A deployment on a terminal: a line for each step that is done, and a live line for what goes on."""

from __future__ import annotations

from collections.abc import Callable

from ...protocol.events import DeploymentStarted, Event
from ..system.format import last
from .deployment_lines import DeploymentLines
from .screen import Screen

__all__ = ["DeploymentScreen"]

_NAME_WIDTH = 12
_TEXT_WIDTH = 56


class DeploymentScreen:
    """Shows deployment `deployment` on `screen`. `now` returns wall time in ns, for the seconds on the live line."""

    def __init__(self, screen: Screen, deployment: int, now: Callable[[], int]) -> None:
        self.lines = DeploymentLines(deployment, now())
        self._screen = screen
        self._now = now

    def take(self, event: Event) -> None:
        """Show an event. Ignores events of other deployments."""
        line = self.lines.take(event)
        if line is None and self.lines.deployment != getattr(event, "deployment", None):
            return
        match line.kind if line is not None else "":
            case "start" if isinstance(event, DeploymentStarted) and event.commit:
                self._line("commit", f"{event.commit[:8]} {event.subject}, by {event.author}", 0)
            case "step" if line is not None:
                self._line(line.name, line.text, line.took)
            case "warning" if line is not None:
                self._screen.line(f"    {self._screen.warn(f'warning: {line.text}')}")
            case "output" if line is not None:
                self.refresh()
                self._screen.line(f"    {self._screen.faint(line.text)}")
            case "start":
                pass
            case _:
                self.refresh()

    def refresh(self, *, away: bool = False) -> None:
        """Draw the live line again. `away`: the supervisor cannot be reached."""
        screen, lines = self._screen, self.lines
        if away:
            screen.live(screen.warn("  … the supervisor is away; the handoff goes on without it"))
            return
        if not lines.activity:
            screen.live("")
            return
        elapsed = last(max(0, self._now() - lines.since) // 100_000_000 * 100_000_000)
        elapsed = lines.probation_text or elapsed
        gist = f"  … {lines.waits_for}"
        screen.live(screen.warn(f"{gist}  {elapsed}"), gist=gist)

    def _line(self, name: str, text: str, took: int) -> None:
        screen = self._screen
        duration = last(took) if took else ""
        pad = " " * max(1, _TEXT_WIDTH - len(text))
        screen.line(
            f"  {screen.good('✓')} {name:<{_NAME_WIDTH}} {text}{pad}{screen.faint(duration)}".rstrip()
        )
