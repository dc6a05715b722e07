"""The progress of one handoff: its phases and steps as they happen, and how it ended.

`HandoffProgress` publishes each phase and step with its duration. It keeps what the status and the end of the
deployment need: what the handoff waits for, the first tick, and the rehearsal. A `HandoffListener` is called at the
turning points.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...protocol.events import PhaseChanged, StepDone
from ...protocol.handoff.handoff import Handoff
from ...protocol.handoff.handoff_events import NO_BOUNDARY, Finish, Phase
from ...protocol.link import Handed, Ready, Rehearsed, YieldReport
from ...protocol.state_changes import StateChanges, rollback_words
from ..system.format import count, last
from ..workers.platform import BotContext
from ..workers.registry import Member

__all__ = ["Finished", "HandoffListener", "HandoffProgress", "HandoffRecord", "comparison"]

_LINES = 12
"""How many differences of the state are shown in a step."""


class Finished(msgspec.Struct, frozen=True):
    """How a handoff ended. `seq`, `blackout`, `late` and `missed` are those of the new worker's first tick, if any."""

    phase: Phase
    reason: str
    leader: str
    """The worker that leads, "" when none does."""
    took_over: bool
    """Whether the new worker has led, even briefly."""
    seq: int | None = None
    blackout: int | None = None
    late: int | None = None
    missed: int = 0
    rollback: str = ""
    heartbeats: bool = False
    """The new worker's bot is event-driven, and these are about heartbeats."""

    @property
    def back(self) -> bool:
        """Whether it was rolled back and the old code can continue: it leads, or can read the state of the new code."""
        return self.phase is Phase.ROLLED_BACK and (bool(self.leader) or self.rollback in ("", "newest"))


class HandoffRecord(msgspec.Struct, frozen=True):
    """What a later driver needs to resume: the state machine, when its phase began (wall ns), and whether the new
    worker has led."""

    handoff: Handoff
    since: int
    took_over: bool


class HandoffListener:
    """Receives the turning points of one handoff. Each method does nothing unless it is overridden."""

    def recorded(self, record: HandoffRecord) -> None:
        """The handoff has changed. Called before the change takes effect."""

    def turned(self, worker: str) -> None:
        """The handoff will be from `worker` instead: the deployment before this one was rolled back."""

    def committed(self) -> None:
        """The new worker leads."""

    def reverted(self) -> None:
        """The old code leads again, or will."""

    def finished(self, how: Finished) -> None:
        """The handoff has ended. Called once, as the last call."""


class HandoffProgress:
    """Publishes the progress of `deployment`, which begins now."""

    def __init__(self, deployment: int, context: BotContext) -> None:
        self.since = context.bus.now()
        """When the current phase began, wall ns."""
        self.holding = ""
        """What the handoff waits for in its current phase, as reported by a worker, "" for nothing."""
        self.handed: Handed | None = None
        """The new worker's first tick, or readiness to run an event-driven bot."""
        self.heartbeats = False
        """The new worker's bot is event-driven."""
        self.rehearsed: Rehearsed | None = None
        self.again = ""
        """The release, when it is a kept one that may have led before."""
        self._yielded: set[int] = set()
        """The orders whose preparation was published."""
        self._deployment = deployment
        self._bus = context.bus
        self._platform = context.platform
        self._begun = self._platform.mono()
        self._entered = self._begun

    @property
    def elapsed(self) -> int:
        """How long the current phase has lasted, ns."""
        return self._platform.mono() - self._entered

    def resume(self, since: int) -> None:
        """Continue the current phase, which began at `since` under an earlier supervisor."""
        self.since = since
        self._entered -= max(0, self._bus.now() - since)

    def entered(self, phase: Phase, before: Phase) -> None:
        """Publish that the deployment has entered another phase."""
        took, self._entered = self.elapsed, self._platform.mono()
        self.since = self._bus.now()
        if phase not in (Phase.CANCELLING, Phase.ABORTED):
            self.holding = ""
        self._bus.tell(
            PhaseChanged(
                at=self.since,
                deployment=self._deployment,
                phase=phase.value,
                before=before.value,
                took=took,
            )
        )

    def spawned(self, member: Member) -> None:
        facts = {"worker": member.worker, "pid": member.pid}
        self.step("spawned", f"worker {member.worker}", self._platform.mono() - self._begun, facts)

    def ready(self, ready: Ready) -> None:
        self.step("imported", "", ready.imported)
        self.step("ready", "on_start is done", ready.started)

    def restored(self, rehearsed: Rehearsed) -> None:
        """The new worker has the real state."""
        self.rehearsed = rehearsed
        if rehearsed.changes is not None:
            self.compared(rehearsed.changes)
        facts = {"bytes": rehearsed.bytes, "rows": rehearsed.rows, "rollback": rehearsed.rollback}
        but = rollback_words(rehearsed.changes)
        text = (
            f"a rollback keeps the newest state{f', but {but}' if but else ''}"
            if rehearsed.rollback in ("", "newest")
            else f"a rollback returns to the state of the handoff ({rehearsed.rollback})"
        )
        self.step("rehearsed", text, rehearsed.took, facts)

    def compared(self, changes: StateChanges) -> str:
        """Publish how the state differs in the new code; return what to add to a refusal, "" for nothing."""
        if changes.same:
            return ""
        hint = ""
        new = [change.field for change in changes.added]
        if self.again and new:
            hint = (
                f"; {', '.join(new)} would begin anew: `neverblink state show {new[0]} --at {self.again}` shows the "
                f"last value under that release, and `neverblink state set {new[0]} VALUE` brings it back"
            )
        text, facts = comparison(changes)
        self.step("state", text + hint, 0, facts)
        return hint

    def held(self, worker: str, reason: str) -> None:
        """Publish what the handoff waits for, as `worker` reports it or as observed."""
        self.holding = reason
        self.step("holding", reason, self.elapsed, {"reason": reason, "worker": worker})

    def yielded(self, worker: str, report: YieldReport) -> None:
        """Publish, once, what a leader did before it handed over."""
        if report.order in self._yielded:
            return
        self._yielded.add(report.order)
        parts = [
            *([f"{count(report.tasks, 'task')} ended in {last(report.ending)}"] if report.tasks else []),
            *([f"on_yielding took {last(report.handler)}"] if report.handler else []),
            *([report.problem] if report.problem else []),
        ]
        facts = {"worker": worker, **msgspec.to_builtins(msgspec.structs.asdict(report))}
        self.step("yielding", ", ".join(parts), 0, facts)

    def ticked(self, worker: str, handed: Handed, *, heartbeats: bool) -> None:
        """Publish the first tick of a new leader. `heartbeats`: its bot is event-driven."""
        facts: dict[str, Any] = {
            "worker": worker,
            "epoch": handed.epoch,
            "cause": handed.cause,
            "seq": handed.seq,
            **({"heartbeats": True} if heartbeats else {}),
        }
        self.step("handed", f"to {worker}", 0, {**facts, "blackout": handed.blackout})
        self.step("first-tick", "", 0, {**facts, "late": handed.late, "missed": handed.missed})

    def step(self, step: str, text: str, took: int = 0, facts: dict[str, Any] | None = None) -> None:
        self._bus.tell(
            StepDone(
                deployment=self._deployment,
                step=step,
                text=text,
                took=took,
                facts=facts or {},
            )
        )

    def finished(self, how: Finish, *, no_boundary: bool, took_over: bool) -> Finished:
        """How the handoff ended. `no_boundary`: it ended because the old worker reached no boundary."""
        reason = NO_BOUNDARY if no_boundary else how.reason
        if reason == NO_BOUNDARY and self.holding:
            reason = f"{reason}: held by {self.holding}"
        handed = self.handed
        return Finished(
            phase=how.phase,
            reason=reason,
            leader=how.leader,
            took_over=took_over,
            seq=handed.seq if handed else None,
            blackout=(handed.blackout or None) if handed else None,
            late=handed.late if handed else None,
            missed=handed.missed if handed else 0,
            rollback=self.rehearsed.rollback if self.rehearsed else "",
            heartbeats=self.heartbeats,
        )


def comparison(changes: StateChanges) -> tuple[str, dict[str, Any]]:
    """How a state differs in the new code, as the text and the facts of a step."""
    lines = changes.lines()
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    return "; ".join([*lines[:_LINES], *more]), {"changes": msgspec.to_builtins(changes)}
