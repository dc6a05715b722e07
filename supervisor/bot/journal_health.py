"""The health of the journal: an event when writing fails, when it works again, and when the journal was recovered.

Each report of a worker has the state of its journal. A worker that begins to lead reports what it found there.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ...protocol.events import JournalChanged, JournalState
from ...protocol.link import Recovered, Report
from ...protocol.state_changes import WOULD_DROP
from ...protocol.status import JournalSeen
from ..system.event_bus import EventBus
from ..workers.registry import Member

__all__ = ["JournalHealth", "journal_of"]

_MEND = "Compare its state with the exchange, and then run `neverblink resume`"


class JournalHealth:
    """Publishes each change to `bus`."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._failing = ""

    def reported(self, member: Member, report: Report) -> None:
        """Handle a worker's report on its journal."""
        journal = report.journal
        if report.role != "leading" or journal is None or bool(journal.failing) == bool(self._failing):
            return
        self._failing = journal.failing
        if journal.failing:
            text = f"it cannot be written, and the bot goes on without it: {journal.failing}"
            self._tell(member, "failing", text, journal.segment)
        else:
            self._tell(
                member, "written", f"it is written again, in segment {journal.segment}", journal.segment
            )

    def recovered(self, member: Member, message: Recovered) -> None:
        """Handle the report of a new leader on what it found in the journal."""
        state: JournalState = "recovered" if message.problem else "read"
        if message.lossy or message.left_out or message.dropped:
            state = "left-out" if message.left_out else "lost"
        self._tell(member, state, _describe(message), message.segment)

    def _tell(self, member: Member, state: JournalState, text: str, segment: int) -> None:
        self._bus.tell(
            JournalChanged(
                worker=member.worker,
                release=member.release,
                state=state,
                text=text,
                segment=segment,
            )
        )


def journal_of(member: Member | None) -> JournalSeen | None:
    """The state of the leader's journal, None until it has reported one."""
    journal = member.report.journal if member is not None and member.report is not None else None
    if member is None or journal is None:
        return None
    found = member.recovered
    paused = found is not None and (found.lossy or found.left_out or found.dropped)
    lossy = found is not None and (found.problem or paused)
    return JournalSeen(
        journal.segment,
        journal.size,
        journal.failing,
        journal.since,
        journal.unwritten,
        _describe(found) if found is not None and lossy else "",
    )


def _describe(found: Recovered) -> str:
    when = (
        datetime.fromtimestamp(found.at / 1e9, UTC).strftime(" (%Y-%m-%d %H:%M:%S UTC)") if found.at else ""
    )
    last = f", tick {found.seq}" if found.seq >= 0 else ", before the first tick"
    text = f"it goes to frame {found.number}{last}{when}"
    if found.left:
        text += f"; {found.left} bytes after it in segment {found.segment} are not whole records"
    if found.problem:
        text += f"; {found.problem}"
    if found.dropped:
        text += (
            f"; this code has dropped {found.dropped.removeprefix(WOULD_DROP).partition(': ')[0]}: it is paused. The "
            "journal has the values (`neverblink state show --at`). Compare, and then run `neverblink resume`"
        )
    if found.left_out:
        text += f"; {found.left_out}: it is paused. {_MEND}"
    elif found.lossy:
        missing = (
            f"{found.lost} frames"
            if found.lost > 1
            else "1 frame"
            if found.lost
            else "an unknown number of frames"
        )
        text += (
            f"; {missing} after that {'is' if found.lost == 1 else 'are'} lost, with what the bot did in them: it is "
            f"paused. {_MEND}"
        )
    return text
