"""Determines the leader from what workers report and how their processes end.

Only reports count; of two workers that report to lead, the one with the higher epoch leads. When the leader is lost and
nothing in progress would replace it, crash recovery begins.
"""

from __future__ import annotations

from ...protocol.link import Report
from ..workers.registry import Member
from .bot_state import BotState
from .command_relay import CommandRelay
from .crash_recovery import CrashRecovery
from .outages import Outages
from .standby import Standby

__all__ = ["Leadership"]


class Leadership:
    """Keeps `state.leader` and `state.epoch`, and begins crash recovery when the leader is lost."""

    def __init__(
        self,
        state: BotState,
        relay: CommandRelay,
        outages: Outages,
        standby: Standby,
        recovery: CrashRecovery,
    ) -> None:
        self.led_before = ""
        """The worker that led last before this supervisor started, dead or alive."""
        self.next_release = ""
        """The release to start when no worker leads; "" for the lost leader's. Set when that one was rolled back."""
        self._state = state
        self._relay = relay
        self._outages = outages
        self._standby = standby
        self._recovery = recovery
        self._lost: Member | None = None
        """The leader that was lost and has no successor yet."""

    def recall(self, leader: str, epoch: int) -> None:
        """Begin with the leader that an earlier supervisor knew.

        A report of a higher epoch is a change of the leader.
        """
        member = self._state.registry.get(leader)
        self._state.leader = leader if member is not None and member.alive else ""
        self._state.epoch = epoch
        self.led_before = leader

    def reported(self, member: Member, report: Report) -> None:
        """A worker has reported its role."""
        state = self._state
        if report.role != "leading" or report.epoch < state.epoch:
            return
        if member.worker == state.leader and report.epoch == state.epoch:
            return
        self._outages.succeeded(self._lost or state.leading, member, report)
        state.leader = member.worker
        state.epoch = report.epoch
        self._recovery.led()
        self._lost, self.next_release = None, ""
        state.publish_leader(member.worker, member.release, report.cause, report.seq + 1)
        self._relay.resend()

    def failed(self, member: Member) -> None:
        """The leader has dropped the lease and is about to exit: recover before its process has ended."""
        if not self._state.stopping:
            self._died(member)
        self._lose(member)
        for driver in list(self._state.drivers):
            driver.exited(member.worker, member.failed.reason if member.failed is not None else "")
        self.look()

    def ended(self, member: Member) -> None:
        """The process of a worker has ended."""
        state = self._state
        self._outages.explained(member)
        self._standby.ended(member)
        handled = member.failed_as == "leading"
        if not handled:
            if member.report is not None and member.report.role == "leading" and not state.stopping:
                self._died(member)
            elif member.worker == state.leader:
                self._recovery.left()
        self._lose(member)
        if not handled:
            for driver in list(state.drivers):
                driver.exited(member.worker, member.ended.reason if member.ended else "")
        self.look()
        state.changes.stir()

    def start_failed(self) -> None:
        """A start that an operator requested has failed: its worker does not count as a lost leader."""
        self._lost = None

    def look(self) -> None:
        """Begin crash recovery when no worker leads and nothing in progress would change that."""
        state, lost = self._state, self._lost
        if state.leader or state.drivers or state.starting or lost is None or self._recovery.busy:
            return
        self._lost = None
        if lost.failed is not None:
            reason = f"worker {lost.worker} failed: {lost.failed.reason}"
        else:
            reason = f"worker {lost.worker} ended: {lost.ended.reason if lost.ended else ''}"
        if state.stopping:
            self._recovery.give_up(state.stopping)
            return
        if self._standby.guarding is None:
            state.publish_leader("", "", reason, 0)
        self._recovery.begin(self.next_release or lost.release, reason, self.look)

    def _died(self, member: Member) -> None:
        self._recovery.died(member)
        if member.worker == self._state.leader:
            self._outages.lost(member)

    def _lose(self, member: Member) -> None:
        if member.worker == self._state.leader:
            self._state.leader = ""
            self._lost = member
