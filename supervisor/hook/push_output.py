"""Output to the person who pushed, in the style of dokku and Heroku: git puts `remote:` before each line.

    -----> building the environment
           Resolved 12 packages in 10 ms
    =====> handed over at tick 48211 in 0.21 ms, 0 missed

git forwards each line as it arrives, so each is flushed. Routers cut idle connections, so a long silence is broken by a
line that ends in a carriage return, which a terminal redraws in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TextIO

from ...protocol.events import DeploymentEnded, Event, StepDone
from ...protocol.handoff.handoff_events import NO_BOUNDARY
from ...protocol.state_changes import WOULD_DROP
from ..system.format import count, last
from ..system.text import visible
from ..terminal.deployment_lines import DeploymentLine, DeploymentLines, leads, unit_of
from ..terminal.screen import put
from .bot_state import RUNS

__all__ = ["ALIVE_EVERY", "DeploymentOutput", "PushOutput", "show_result"]

ALIVE_EVERY = 5.0
"""Seconds of silence after which a progress line is written."""

_RULE = "=" * 75
_INDENT = " " * 7


class PushOutput:
    """Writes to `out`. `clock` returns monotonic seconds."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.connected = True
        """Whether the output is still read. A broken connection has no other effect."""
        self._out = out
        self._clock = clock
        self._wrote = self._since = clock()

    def step(self, text: str) -> None:
        """The next step."""
        self._since = self._clock()
        self._write(f"-----> {visible(text)}\n")

    def detail(self, text: str) -> None:
        """A line about the step."""
        self._write(f"{_INDENT}{visible(text)}\n")

    def warn(self, text: str) -> None:
        """A warning: git colours its first word."""
        self._write(f"{' !     warning: '}{visible(text)}\n")

    def verdict(self, text: str) -> None:
        """The result."""
        self._write(f"=====> {visible(text)}\n")

    def banner(self, what: str, *details: str) -> None:
        """A failure in a frame: git reports the push itself as successful in any case."""
        lines = ["", _RULE, f"error: {what}", *details, _RULE, ""]
        self._write("".join(f"{visible(line)}\n" for line in lines))

    def alive(self, doing: str) -> None:
        """After `ALIVE_EVERY` seconds of silence, show the current activity."""
        now = self._clock()
        if now - self._wrote >= ALIVE_EVERY:
            self._write(
                f"{_INDENT}… {visible(doing, keep='')}, {last(int(now - self._since) * 1_000_000_000)}\r"
            )

    def _write(self, text: str) -> None:
        self._wrote = self._clock()
        if self.connected:
            self.connected = put(self._out, text)


_OWN_STEP = ("rehearsing", "prepared", "waiting", "cancelling", "reverting")
"""The phases that are shown as a step when they begin."""
_UNNAMED = ("spawned", "rehearsed", "environment", "check")


class DeploymentOutput:
    """Shows deployment `deployment` on `output`."""

    def __init__(self, output: PushOutput, deployment: int) -> None:
        self.lines = DeploymentLines(deployment)
        self._output = output
        self._step = ""
        self._held = ""

    def take(self, event: Event) -> None:
        """Show an event. Ignores events of other deployments."""
        line = self.lines.take(event)
        if line is None:
            return
        match line.kind:
            case "start":
                self._output.step(f"deployment {self.lines.deployment}: {line.sentence}")
            case "warning":
                self._output.warn(line.text)
            case "output":
                self._begin(self.lines.activity)
                self._output.detail(line.text)
            case "phase":
                self._held = ""
                if line.name in _OWN_STEP:
                    self._begin(self.lines.activity)
            case "held" if line.text != self._held:
                self._held = line.text
                self._output.detail(f"{line.name} {line.text}")
            case "step" if isinstance(event, StepDone):
                self._show_step(event.step, line)
            case _:
                pass

    def refresh(self, *, away: bool = False) -> None:
        """Show that it goes on, if nothing was shown for a while. `away`: the supervisor cannot be reached."""
        lines = self.lines
        activity = lines.waits_for
        if away:
            activity = "the supervisor is away; the bot and the handoff go on without it"
        elif progress := lines.probation_text:
            activity = f"probation, {progress}"
        self._output.alive(activity)

    def _begin(self, step: str) -> None:
        if step and step != self._step:
            self._step = step
            self._output.step(step)

    def _show_step(self, step: str, line: DeploymentLine) -> None:
        if step == "handed":
            self._output.step(line.sentence)
            return
        if step in ("environment", "check", "spawned"):
            self._begin(self.lines.activity)
        took = f"  ({last(line.took)})" if line.took else ""
        name = "" if step in _UNNAMED else line.name
        self._output.detail(" ".join(part for part in (name, line.text) if part) + took)
        if step == "first-tick":
            self._begin("probation")


def show_result(
    output: PushOutput, ended: DeploymentEnded, branch: str, repository: Path, *, gate: bool
) -> bool:
    """Show how the deployment ended; return whether it succeeded.

    It was of what `branch` of `repository` is at, or with `gate` of what it would be at.
    """
    who_leads = leads(ended.release)
    bot = RUNS if ended.release else "no worker leads"
    details = f"  Details, on the bot's machine: neverblink history {ended.deployment}"
    match ended.outcome:
        case "rehearsed":
            output.verdict("rehearsed: this code can take over the live state")
            return True
        case "done":
            blackout = "" if ended.blackout is None else f" in {last(ended.blackout)}"
            unit = unit_of(ended.heartbeats)
            output.verdict(f"handed over at {unit} {ended.seq}{blackout}, {ended.missed:,} missed")
            output.detail(f"{who_leads}, and its probation is over" if ended.release else who_leads)
            return True
        case "rolled_back":
            old = "the old code leads again" if ended.release else "no worker leads"
            output.banner(
                f"ROLLED BACK: the new code led and did not pass its probation; {old}",
                f"error: {ended.reason}",
                "  It never ticked."
                if ended.seq is None
                else f"  It led from {unit_of(ended.heartbeats)} {ended.seq}.",
                f"  {who_leads}; {count(ended.missed, unit_of(ended.heartbeats))} missed.",
                f"  Fix it and push again to {branch}.",
                details,
            )
        case _:
            named = ended.reason.startswith((NO_BOUNDARY, WOULD_DROP))
            reason = (
                ended.reason if named or ended.reason.startswith("aborted") else f"aborted: {ended.reason}"
            )
            state = f"  {who_leads}; the bot was not interrupted." if ended.release else f"  {who_leads}."
            if gate:
                output.banner(
                    f"REFUSED: {branch} stays where it was, and {bot}",
                    f"error: {reason}",
                    state,
                    details,
                )
            else:
                output.banner(
                    f"NOT DEPLOYED: the push arrived, but {bot}",
                    f"error: {reason}",
                    state,
                    f"  Fix it and push again to {branch}.",
                    details,
                    f"  To try the same commit again, there: neverblink hook deploy {quote(str(repository))}",
                )
    return False
