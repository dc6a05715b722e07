"""The progress of one handoff: publishes each phase and step as it happens, with how long it took.

Keeps what the status and the end of the deployment need: what it waits for, the first tick, and the rehearsal.
"""

from __future__ import annotations

from typing import Any

from ...protocol.events import PhaseChanged, StepDone
from ...protocol.handoff.handoff_events import NO_BOUNDARY, Finish, Phase
from ...protocol.link import Handed, Ready, Rehearsed
from ..workers.bot_context import BotContext
from ..workers.registry import Member
from .interfaces import Finished

__all__ = ["HandoffProgress"]


class HandoffProgress:
    """Publishes the progress of `deployment`, which begins now."""

    def __init__(self, deployment: int, context: BotContext) -> None:
        self.since = context.bus.now()
        """Wall ns at which the present phase began."""
        self.holding = ""
        """What the handoff waits for in its present phase, as reported by a worker, "" for nothing."""
        self.handed: Handed | None = None
        """The new worker's first tick."""
        self.rehearsed: Rehearsed | None = None
        self._deployment = deployment
        self._bus = context.bus
        self._platform = context.platform
        self._begun = self._platform.mono()
        self._entered = self._begun

    @property
    def elapsed(self) -> int:
        """How long the present phase has lasted, ns."""
        return self._platform.mono() - self._entered

    def resume(self, since: int) -> None:
        """An earlier supervisor saw the present phase begin, at `since`."""
        self.since = since
        self._entered -= max(0, self._bus.now() - since)

    def entered(self, phase: Phase, before: Phase) -> None:
        """The deployment is in another phase."""
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
        facts = {"bytes": rehearsed.bytes, "rows": rehearsed.rows, "rollback": rehearsed.rollback}
        text = (
            "a rollback keeps the newest state"
            if rehearsed.rollback in ("", "newest")
            else f"a rollback returns to the state of the handoff ({rehearsed.rollback})"
        )
        self.step("rehearsed", text, rehearsed.took, facts)

    def held(self, worker: str, reason: str) -> None:
        """The handoff waits for this, as reported by `worker` or observed of it."""
        self.holding = reason
        self.step("holding", reason, self.elapsed, {"reason": reason, "worker": worker})

    def ticked(self, worker: str, handed: Handed) -> None:
        """A worker that has begun to lead has run its first tick."""
        facts: dict[str, Any] = {
            "worker": worker,
            "epoch": handed.epoch,
            "cause": handed.cause,
            "seq": handed.seq,
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
        """How the handoff ended. `no_boundary`: it was because the old worker reached no boundary."""
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
        )
