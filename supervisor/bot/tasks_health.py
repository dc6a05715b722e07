"""The health of the tasks that run as long as the leader leads: an event when one ends by itself.

Each report of the leader has all of its tasks. A task that ends again and again starts again after growing pauses, so
that there are few events. In a probation, an unhealthy task of the new code is the reason for a rollback.
"""

from __future__ import annotations

from ...protocol.events import TaskEnded, TaskFailed
from ...protocol.handoff.handoff_events import Phase
from ...protocol.link import Report, TaskReport
from ..system.event_bus import EventBus
from ..workers.registry import Member
from .bot_state import BotState

__all__ = ["TasksHealth", "unhealthy"]


class TasksHealth:
    """Publishes each end to `bus`."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._known: dict[str, int] = {}
        """When each task last ended by itself."""
        self._leader = ("", 0)

    def reported(self, member: Member, before: Report | None, report: Report) -> None:
        """Handle a worker's report on its tasks. `before` is its previous one.

        What an adopted worker's tasks did before its first report here is not news.
        """
        if report.role != "leading":
            return
        leader = (member.worker, report.epoch)
        if leader != self._leader:
            self._leader = leader
            adopted = before is None
            self._known = {task.name: task.failed for task in report.tasks} if adopted else {}
        for task in report.tasks:
            if task.failed > self._known.get(task.name, 0):
                self._tell(member, task)
            self._known[task.name] = task.failed

    def _tell(self, member: Member, task: TaskReport) -> None:
        make = TaskFailed if task.raised else TaskEnded
        self._bus.tell(
            make(
                worker=member.worker,
                release=member.release,
                task=task.name,
                text=task.text,
                unhealthy=task.state == "unhealthy",
                restarts=task.restarts,
                row=task.row,
            )
        )


def unhealthy(state: BotState, worker: str, report: Report) -> None:
    """Roll back the deployment in its probation whose new worker reports an unhealthy task."""
    task = next((task for task in report.tasks if task.state == "unhealthy"), None)
    if task is None or report.role != "leading":
        return
    for driver in list(state.drivers):
        if driver.phase is Phase.PROBATION and driver.handoff.new == worker:
            driver.revert(task.text)
