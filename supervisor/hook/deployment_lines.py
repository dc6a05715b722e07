"""A deployment as the one who pushed it sees it: events in, lines out.

Each phase is a step, and what happens in it are lines below it; what a build or a check prints is shown as it comes.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from ...protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    PhaseChanged,
    StepDone,
    StepOutput,
)
from ...protocol.handoff.handoff_events import NO_BOUNDARY
from ..store.history_rows import DeploymentRow
from ..system.format import count, last
from ..terminal.deployment_story import told
from .client_output import PushOutput
from .standing import RUNS

__all__ = ["DeploymentLines", "conclude"]

_PHASES = {
    "rehearsing": "rehearsing on the live state",
    "prepared": "waiting for its turn",
    "waiting": "waiting for a boundary",
    "cancelling": "cancelling",
    "reverting": "going back to the code of before",
}
_OUTPUTS = {
    "environment": "building environment",
    "check": "checking",
}
_FIRST = {
    "environment": "environment",
    "check": "check",
    "spawned": "starting a worker on the new code",
}
_NAMES = {"first-tick": "first tick", "ready": "ready:"}
_UNNAMED = ("spawned", "rehearsed", *_OUTPUTS)


class DeploymentLines:
    """Tells deployment `deployment` to `voice`."""

    def __init__(self, voice: PushOutput, deployment: int) -> None:
        self.deployment = deployment
        self.ended = False
        self.doing = "making a release"
        """What is waited for, for a sign of life."""
        self._voice = voice
        self._step: str = ""
        self._held: str = ""

    def take(self, event: Event) -> None:
        """Take in an event; those of other deployments are nobody's business here."""
        if getattr(event, "deployment", None) != self.deployment:
            return
        match event:
            case DeploymentStarted():
                self._voice.step(_what(event))
            case StepOutput():
                if event.step == "release":
                    self._voice.warn(event.text)
                    return
                self._begin(_OUTPUTS.get(event.step, event.step))
                self._voice.detail(event.text)
            case PhaseChanged():
                self._held = ""
                if event.phase in _PHASES:
                    self._begin(_PHASES[event.phase])
            case StepDone():
                self._take_step(event)
            case DeploymentEnded():
                self.ended = True
            case _:
                pass

    def alive(self) -> None:
        """Say that it goes on, if nothing was said for a while."""
        self._voice.alive(self.doing)

    def _begin(self, step: str) -> None:
        if step != self._step:
            self._step = step
            self.doing = step
            self._voice.step(step)

    def _take_step(self, step: StepDone) -> None:
        match step.step:
            case "holding":
                held = str(step.facts.get("reason") or step.text)
                if held != self._held:
                    self._held = held
                    self.doing = f"{self._step}: held by {held}"
                    self._voice.detail(f"held by {held}")
            case "probation":
                spent, total = step.facts.get("elapsed"), step.facts.get("total")
                if isinstance(spent, int) and isinstance(total, int):
                    self.doing = f"probation, {spent / 1e9:.0f} of {total / 1e9:.0f} s"
            case "handed":
                self._voice.step(f"handed over {told(step)}")
            case name:
                if name in _FIRST:
                    self._begin(_FIRST[name])
                took = f"  ({last(step.took)})" if step.took else ""
                shown = "" if name in _UNNAMED else _NAMES.get(name, name)
                self._voice.detail(" ".join(part for part in (shown, told(step)) if part) + took)
                if name == "first-tick":
                    self._begin("probation")


def _what(started: DeploymentStarted) -> str:
    """The deployment in one line."""
    commit = f" of {started.commit[:8]} ({started.subject})" if started.commit else ""
    return f"deployment {started.deployment}: {'rehearsal' if started.dry_run else 'release'}{commit}"


def conclude(voice: PushOutput, row: DeploymentRow, branch: str, repository: Path, *, gate: bool) -> bool:
    """Say what became of the deployment in `row`, which has ended; return whether it was well.

    It was of what `branch` of `repository` is at, or with `gate` is to be at.
    """
    leads = f"{row.runs} leads" if row.runs else "no worker leads"
    bot = RUNS if row.runs else "no worker leads"
    story = f"  The whole story, on the machine of the bot: neverblink history {row.id}"
    match row.outcome:
        case "rehearsed":
            voice.verdict("rehearsed: this code can take over the live state")
            return True
        case "done":
            took = "" if row.blackout is None else f" in {last(row.blackout)}"
            voice.verdict(f"handed over at tick {row.seq}{took}, {row.missed:,} missed")
            voice.detail(f"{leads}, and its probation is over" if row.runs else leads)
            return True
        case "rolled_back":
            voice.banner(
                "ROLLED BACK: the new code led and did not pass its probation; "
                + ("the code of before leads again" if row.runs else "no worker leads"),
                f"error: {row.reason}",
                f"  It led from tick {row.seq} on. {leads}; {count(row.missed, 'tick')} missed.",
                f"  Mend it and push again to {branch}.",
                story,
            )
        case _:
            what = "aborted" if not row.reason.startswith(NO_BOUNDARY) else "no boundary in time"
            reason = row.reason if row.reason.startswith(what) else f"{what}: {row.reason}"
            noticed = f"  {leads}, and noticed nothing." if row.runs else f"  {leads}."
            if gate:
                voice.banner(
                    f"REFUSED: {branch} stays where it was, and {bot}",
                    f"error: {reason}",
                    noticed,
                    story,
                )
            else:
                voice.banner(
                    f"NOT DEPLOYED: the push arrived, but {bot}",
                    f"error: {reason}",
                    noticed,
                    f"  Mend it and push again to {branch}.",
                    story,
                    f"  To try the same commit again, there: neverblink hook deploy {quote(str(repository))}",
                )
    return False
