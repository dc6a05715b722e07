"""The health of the state: an event when a field does not read back as it was written, and when it does again.

The leader verifies what it writes, and each of its reports has what it found. A new leader has read the state, so what
it does not report is right again.
"""

from __future__ import annotations

from ...protocol.events import StateProblemChanged
from ...protocol.link import Report, StateProblem
from ..system.event_bus import EventBus
from ..workers.registry import Member

__all__ = ["StateHealth"]


class StateHealth:
    """Publishes each change to `bus`."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._known: dict[str, StateProblem] = {}

    def reported(self, member: Member, report: Report) -> None:
        """Handle a worker's report on its state."""
        if report.role != "leading":
            return
        now = {problem.field: problem for problem in report.problems}
        if now == self._known:
            return
        for field in self._known.keys() - now.keys():
            self._tell(member, field, None)
        for field, problem in now.items():
            before = self._known.get(field)
            # Its value may change at each tick. It is another problem where it is of another kind or in another place.
            if before is None or (before.path, before.kind) != (problem.path, problem.kind):
                self._tell(member, field, problem)
        self._known = now

    def _tell(self, member: Member, field: str, problem: StateProblem | None) -> None:
        self._bus.tell(
            StateProblemChanged(worker=member.worker, release=member.release, field=field, problem=problem)
        )
