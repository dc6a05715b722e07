"""The events of a deployment as lines for people, with the same words in every output.

The command line, the push hook, `top`, the event log and messages only lay these lines out. No I/O and no clock:
events go in, lines come out.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from ...protocol.duration import SECOND
from ...protocol.events import (
    DeploymentEnded,
    DeploymentStarted,
    Event,
    Outcome,
    PhaseChanged,
    StepDone,
    StepOutput,
)
from ..store.history_rows import DeploymentRow, StepNote, ended_of
from ..system.format import count, last, size

__all__ = [
    "END_PHASES",
    "DeploymentLine",
    "DeploymentLines",
    "handoff_facts",
    "leads",
    "line_of",
    "outcome_name",
    "phases_of",
    "step_text",
    "takes_over",
    "unit_of",
]

END_PHASES = frozenset(get_args(Outcome))
"""The phases in which a deployment has ended."""

_ACTIVITIES = {
    "building": "making it ready to run",
    "preparing": "starting the new worker",
    "rehearsing": "rehearsing on the live state",
    "prepared": "waiting for its turn",
    "waiting": "waiting for a boundary",
    "cancelling": "cancelling",
    "transferring": "handing over",
    "probation": "probation",
    "reverting": "going back to the old code",
    "retiring": "stopping the old worker",
}
_OUTPUT_ACTIVITIES = {"environment": "building environment", "check": "checking"}
_STEP_NAMES = {"handed": "handed over", "first-tick": "first tick"}
_READY = "ready to run"
"""What an event-driven bot has instead of its first tick."""
_HELD_PHASES = ("rehearsing", "prepared", "waiting")


class DeploymentLine(msgspec.Struct, frozen=True):
    """One line. `name` is the event, `text` its details; `took` is a duration in ns, 0 for none."""

    kind: Literal["start", "phase", "held", "step", "output", "warning", "end"]
    name: str
    text: str
    took: int = 0
    bad: bool = False
    reason: str = ""
    """Why it failed."""

    @property
    def details(self) -> str:
        """The text and the reason."""
        return ": ".join(part for part in (self.text, self.reason) if part)

    @property
    def sentence(self) -> str:
        """The line in running text, without the deployment's number."""
        colon = ":" if self.kind in ("output", "warning") else ""
        parts = (f"{self.name}{colon}", self.text, f"in {last(self.took)}" if self.took else "")
        reason = f": {self.reason}" if self.reason else ""
        return " ".join(part for part in parts if part) + reason


class DeploymentLines:
    """Makes the lines of deployment `deployment`, and tracks its progress. `now` is wall time, ns."""

    def __init__(self, deployment: int, now: int = 0) -> None:
        self.deployment = deployment
        self.ended: DeploymentEnded | None = None
        self.phase = "preparing"
        self.since = now
        """When the phase began, wall ns."""
        self.phases: dict[str, int] = {}
        """How long each finished phase took, ns."""
        self.held = ""
        """What last held the handoff."""
        self.probation: tuple[int, int] | None = None
        """How much of the probation has passed, and its length, ns."""
        self.state: dict[str, Any] | None = None
        """How the state differs in the new code (a `StateChanges` as plain data), None for what is not known."""
        self._activity = ""

    @property
    def activity(self) -> str:
        """What the deployment is doing now, "" when it has ended."""
        return "" if self.ended else self._activity or _ACTIVITIES.get(self.phase, "")

    @property
    def probation_text(self) -> str:
        """How much of the probation has passed, as "3 s of 20 s"; "" outside it."""
        if self.phase != "probation" or self.probation is None:
            return ""
        spent, total = self.probation
        unit = SECOND if total >= 10 * SECOND else SECOND // 10 if total >= SECOND else SECOND // 1000
        return f"{last(spent // unit * unit)} of {last(total)}"

    @property
    def waits_for(self) -> str:
        """The activity, with what holds it."""
        held = f": held by {self.held}" if self.held and self.phase in _HELD_PHASES else ""
        return self.activity + held

    def take(self, event: Event) -> DeploymentLine | None:
        """Take in an event; return its line, if it has one. Ignores events of other deployments."""
        if getattr(event, "deployment", None) != self.deployment:
            return None
        match event:
            case StepOutput():
                self._activity = _OUTPUT_ACTIVITIES.get(event.step, self._activity)
            case PhaseChanged():
                self._enter(event)
            case StepDone(step="holding"):
                self.held = _holder(event)
            case StepDone(step="state"):
                self.state = event.facts.get("changes")
            case StepDone(step="probation"):
                self.probation = _spent(event.facts) or self.probation
            case StepDone():
                self._activity = _OUTPUT_ACTIVITIES.get(event.step, "")
            case DeploymentEnded():
                self.ended = event
            case _:
                pass
        return line_of(event)

    def catch_up(self, row: DeploymentRow) -> list[DeploymentLine]:
        """Continue from the history, as after lost events; return the lines of its steps so far."""
        self.phases = phases_of(row)
        self.held = next((_holder(note) for note in reversed(row.steps) if note.step == "holding"), "")
        self.state = next(
            (note.facts.get("changes") for note in reversed(row.steps) if note.step == "state"), None
        )
        if row.phases:
            self.phase, self.since = row.phases[-1].phase, row.phases[-1].at
        self.ended = ended_of(row)
        return [line for note in row.steps if (line := _step(note)) is not None and line.kind == "step"]

    def _enter(self, event: PhaseChanged) -> None:
        self.phases[event.before] = self.phases.get(event.before, 0) + event.took
        self.phase, self.since, self._activity = event.phase, event.at, ""
        if event.before in ("rehearsing", "prepared") and event.phase in ("prepared", "waiting"):
            # What held the copy or the turn is over.
            self.held = ""


def line_of(event: Event) -> DeploymentLine | None:
    """The line of one event of a deployment; None for events that have none."""
    match event:
        case DeploymentStarted():
            by = f", asked by {event.who}" if event.who else ""
            why = f": {event.why}" if event.why else ""
            commit = " ".join(part for part in (event.commit[:8], event.subject) if part)
            what = f"{event.release} ({commit})" if commit else event.release
            text = takes_over(what, event.previous, dry_run=event.dry_run)
            return DeploymentLine("start", "release", f"{text}{by}{why}")
        case PhaseChanged():
            return DeploymentLine("phase", event.phase, f"({event.before} took {last(event.took)})")
        case StepDone():
            return _step(event)
        case StepOutput(step="release"):
            return DeploymentLine("warning", "warning", event.text)
        case StepOutput():
            return DeploymentLine("output", event.step, event.text)
        case DeploymentEnded():
            facts = ", ".join(handoff_facts(event))
            bad = event.outcome not in ("done", "rehearsed")
            return DeploymentLine("end", outcome_name(event.outcome), facts, bad=bad, reason=event.reason)
        case _:
            return None


def takes_over(release: str, previous: str, *, dry_run: bool = False) -> str:
    """What a deployment of `release` does: "v2 takes over from v1"."""
    if not previous:
        return release
    return f"{release} {'is rehearsed beside' if dry_run else 'takes over from'} {previous}"


def leads(release: str) -> str:
    """Which release leads, "" for none: "v2 leads"."""
    return f"{release} leads" if release else "no worker leads"


def outcome_name(outcome: str) -> str:
    """An outcome in words: "rolled back" for `rolled_back`."""
    return outcome.replace("_", " ")


def handoff_facts(ended: DeploymentEnded) -> list[str]:
    """The numbers of the handoff: its tick, blackout, lateness, and missed ticks. Empty when there was no handoff."""
    facts: list[str] = []
    unit = unit_of(ended.heartbeats)
    if ended.seq is not None:
        facts.append(f"at {unit} {ended.seq}")
    if ended.blackout:
        facts.append(f"blackout {last(ended.blackout)}")
    if ended.late is not None and not ended.heartbeats:
        facts.append(f"first tick {last(ended.late)} late")
    if facts or ended.missed:
        facts.append(f"{count(ended.missed, unit)} missed")
    return facts


def unit_of(heartbeats: bool) -> str:
    """What an index on the bot's grid is: a tick, or a heartbeat of an event-driven bot."""
    return "heartbeat" if heartbeats else "tick"


def step_text(step: StepDone | StepNote) -> str:
    """The step's text with its numbers."""
    facts = step.facts
    parts: list[str] = [step.text] if step.text and step.text != step.step else []
    match step.step:
        case "spawned":
            parts = [f"worker {facts.get('worker', '?')}, pid {facts.get('pid', '?')}"]
        case "rehearsed":
            parts = [
                *([size(facts["bytes"])] if "bytes" in facts else []),
                *([count(rows, "row")] if (rows := facts.get("rows")) else []),
                *parts,
            ]
        case "handed":
            parts.append(f"at {unit_of(bool(facts.get('heartbeats')))} {facts.get('seq', '?')}")
            if blackout := facts.get("blackout"):
                parts.append(f"blackout {last(blackout)}")
        case "first-tick":
            parts.append(f"{last(facts.get('late', 0))} late")
            if missed := facts.get("missed"):
                parts.append(count(missed, unit_of(bool(facts.get("heartbeats")))) + " missed")
        case _:
            pass
    return ", ".join(parts)


def phases_of(row: DeploymentRow) -> dict[str, int]:
    """How long a deployment was in each of its phases, ns, in their order."""
    spent: dict[str, int] = {}
    for note in row.phases:
        if note.before:
            spent[note.before] = spent.get(note.before, 0) + note.took
    if row.phases and row.ended is not None and row.phases[-1].phase not in END_PHASES:
        # A deployment that is never begun ends in the middle of a phase.
        unended = row.phases[-1]
        spent[unended.phase] = spent.get(unended.phase, 0) + max(0, row.ended - unended.at)
    return spent


def _step(step: StepDone | StepNote) -> DeploymentLine | None:
    match step.step:
        case "probation":
            return None
        case "holding":
            return DeploymentLine("held", "held by", _holder(step))
        case name:
            named = (
                _READY
                if name == "first-tick" and step.facts.get("heartbeats")
                else _STEP_NAMES.get(name, name)
            )
            return DeploymentLine("step", named, step_text(step), step.took)


def _holder(step: StepDone | StepNote) -> str:
    return str(step.facts.get("reason") or step.text)


def _spent(facts: dict[str, Any]) -> tuple[int, int] | None:
    spent, total = facts.get("elapsed"), facts.get("total")
    return (spent, total) if isinstance(spent, int) and isinstance(total, int) else None
