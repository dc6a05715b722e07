"""A deployment as it is watched: each phase a line when it is over, and a live line for the one that runs.

Made of events alone, without a socket, so that it can be tested with a list of them. It also remembers what the final
answer is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    PhaseChanged,
    StepDone,
    StepOutput,
)
from ..store.history_rows import StepNote
from ..system.format import count, last, size
from .screen import Screen

__all__ = ["DeploymentStory", "told"]

_WAITS = {
    "building": "making it ready to run",
    "preparing": "starting the new worker",
    "rehearsing": "rehearsing on the live state",
    "prepared": "waiting for its turn",
    "waiting": "waiting for a boundary",
    "cancelling": "cancelling",
    "transferring": "handing over",
    "probation": "probation",
    "reverting": "going back to the old code",
    "retiring": "the old worker leaves",
}
_NAMES = {
    "handed": "handed over",
    "first-tick": "first tick",
}
_NAME_WIDTH = 12
_TEXT_WIDTH = 56


class DeploymentStory:
    """Shows deployment `deployment` on `screen`. `now` tells wall ns, for the seconds on the live line."""

    def __init__(self, screen: Screen, deployment: int, now: Callable[[], int]) -> None:
        self.deployment = deployment
        self.ended: DeploymentEnded | None = None
        self.phases: dict[str, int] = {}
        """How long each finished phase took, ns."""
        self.held = ""
        """What last kept the handoff waiting."""
        self._screen = screen
        self._now = now
        self._phase = "preparing"
        self._since = now()
        self._probation: tuple[int, int] | None = None

    def take(self, event: Event) -> None:
        """Take in an event; those of other deployments change nothing."""
        if getattr(event, "deployment", self.deployment) != self.deployment:
            return
        match event:
            case DeploymentStarted() if event.commit:
                self._line("commit", f"{event.commit[:8]} {event.subject}, by {event.author}", 0)
            case StepOutput(step="release"):
                self._screen.line(f"    {self._screen.warn(f'warning: {event.text}')}")
            case StepOutput():
                self._screen.line(f"    {self._screen.faint(event.text)}")
            case StepDone():
                self._step(event)
            case PhaseChanged():
                self.phases[event.before] = self.phases.get(event.before, 0) + event.took
                self._phase, self._since = event.phase, event.at
                if event.before in ("rehearsing", "prepared") and event.phase in ("prepared", "waiting"):
                    # What held up the copy, or kept it waiting for its turn, is over.
                    self.held = ""
                self.refresh()
            case DeploymentEnded():
                self.ended = event
                self._screen.live("")
            case _:
                pass

    def refresh(self) -> None:
        """Draw the live line anew."""
        if self.ended is not None or self._phase not in _WAITS:
            self._screen.live("")
            return
        doing = _WAITS[self._phase]
        if self._phase in ("rehearsing", "prepared", "waiting") and self.held:
            doing += f": held by {self.held}"
        elapsed = max(0, self._now() - self._since)
        told = last(elapsed // 100_000_000 * 100_000_000)
        if self._phase == "probation" and self._probation is not None:
            spent, total = self._probation
            told = f"{spent / 1e9:.0f}/{total / 1e9:.0f} s"
        self._screen.live(self._screen.warn(f"  … {doing}  {told}"), gist=f"  … {doing}")

    def _step(self, step: StepDone) -> None:
        match step.step:
            case "holding":
                self.held = str(step.facts.get("reason") or step.text)
                self.refresh()
            case "probation":
                self._probation = _spent(step.facts) or self._probation
                self.refresh()
            case _:
                self._line(_NAMES.get(step.step, step.step), told(step), step.took)

    def _line(self, name: str, text: str, took: int) -> None:
        screen = self._screen
        duration = last(took) if took else ""
        pad = " " * max(1, _TEXT_WIDTH - len(text))
        screen.line(
            f"  {screen.good('✓')} {name:<{_NAME_WIDTH}} {text}{pad}{screen.faint(duration)}".rstrip()
        )


def told(step: StepDone | StepNote) -> str:
    """The step's text with the numbers people want to see."""
    facts = step.facts
    parts: list[str] = [step.text] if step.text and step.text != step.step else []
    match step.step:
        case "spawned":
            parts = [f"worker {facts.get('worker', '?')}, pid {facts.get('pid', '?')}"]
        case "rehearsed":
            parts = [
                size(facts.get("bytes", 0)),
                *([count(rows, "row")] if (rows := facts.get("rows")) else []),
                *parts,
            ]
        case "handed":
            parts.append(f"at tick {facts.get('seq', '?')}")
            if blackout := facts.get("blackout"):
                parts.append(f"blackout {last(blackout)}")
        case "first-tick":
            parts.append(f"{last(facts.get('late', 0))} late")
            if missed := facts.get("missed"):
                parts.append(count(missed, "tick") + " missed")
        case _:
            pass
    return ", ".join(parts)


def _spent(facts: dict[str, Any]) -> tuple[int, int] | None:
    spent, total = facts.get("elapsed"), facts.get("total")
    return (spent, total) if isinstance(spent, int) and isinstance(total, int) else None
