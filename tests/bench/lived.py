"""A bot's history from its journal: the audit's report, and the lateness of every tick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from neverblink.protocol.frame import Frame, Led, decode_frame
from neverblink.protocol.grid import GapKind
from neverblink.protocol.journal import Entry, RecordKind
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import read_journal
from neverblink.supervisor.audit.report import AuditReport

__all__ = ["BotHistory", "lived"]


class BotHistory(msgspec.Struct, frozen=True):
    """`late` has each tick's `(due, how late)` in order; `blackouts` has each handoff's. All in ns.

    `handed` is when the handoffs were, on the wall clock. `gaps` are the ticks that did not run: when the next one was
    due, the kind of gap, how many.
    """

    report: AuditReport
    late: list[tuple[int, int]]
    blackouts: list[int]
    handed: list[int]
    gaps: list[tuple[int, GapKind, int]]

    def absent(self, kind: GapKind, until: int) -> int:
        """How many ticks were `missed`, or `skipped`, up to a tick due at `until` (wall ns)."""
        return sum(count for due, what, count in self.gaps if what == kind and due <= until)


def lived(journal: Path, *, after: int = 0) -> BotHistory:
    """Read a journal. Ticks due before `after` (wall ns) are left out of the lateness and the gaps, not of the audit.

    Raises RuntimeError when the audit finds a broken invariant: then no number of this run is meaningful.
    """
    report = audit(read_journal(journal))
    if not report.ok:
        problems = "; ".join(broken.text for broken in report.broken)
        raise RuntimeError(f"the audit of {journal} finds something broken: {problems}")
    late: list[tuple[int, int]] = []
    blackouts: list[int] = []
    handed: list[int] = []
    gaps: list[tuple[int, GapKind, int]] = []
    for frame in frames(journal):
        if frame.kind == "tick" and frame.timing.due >= after:
            late.append((frame.timing.due, frame.timing.late))
            gaps.extend((frame.timing.due, gap.kind, len(gap)) for gap in frame.timing.gaps)
        elif isinstance(frame.about, Led) and frame.about.cause == "handoff":
            blackouts.append(frame.about.blackout)
            handed.append(frame.timing.ended)
    return BotHistory(report, late, blackouts, handed, gaps)


def frames(journal: Path) -> Iterator[Frame]:
    """Every frame of a journal, in order."""
    for found in read_journal(journal):
        if isinstance(found, Entry) and found.kind is RecordKind.FRAME:
            yield decode_frame(found.payload)
