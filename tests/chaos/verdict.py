"""The verdict on one episode, from the exchange's ledger, the journal and the events.

Each violation is one line. `bin/chaos` succeeds with an empty list.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import msgspec

from neverblink.protocol.frame import Led, decode_frame
from neverblink.protocol.journal import Entry, RecordKind, decode_opened, decode_snapshot
from neverblink.protocol.status import PauseNote
from neverblink.supervisor.audit.audit import audit
from neverblink.supervisor.audit.reader import read_journal
from neverblink.supervisor.audit.report import AuditReport
from neverblink.supervisor.demo.ledger import Confirmed, Filled, Record, Reserved
from neverblink.supervisor.demo.verdict import judge

from .market import TIMEFRAMES, OrderRequest

__all__ = [
    "DeploymentOutcome",
    "Evidence",
    "JournalSummary",
    "WorkerDeath",
    "of_the_pauses",
    "read",
    "violations",
]


class DeploymentOutcome(msgspec.Struct, frozen=True):
    """One deployment: the release before, the deployed one, the outcome, and the release that led then ("": none)."""

    number: int
    before: str
    wanted: str
    outcome: str
    led: str
    unfelt: bool = False
    """The code was good, and no fault justified ending it otherwise than `done`."""
    torn: frozenset[str] = frozenset()
    """Releases of which a power cut had torn a file."""


class WorkerDeath(msgspec.Struct, frozen=True):
    """A worker whose process ended uncleanly although no fault was active that ends a process."""

    worker: str
    reason: str


class JournalSummary(msgspec.Struct, frozen=True):
    """What the journal says: the epoch in which each decision was opened, and the worker that led in each epoch."""

    report: AuditReport
    decisions: Mapping[str, int]
    leaders: Mapping[int, str]
    doubts: frozenset[str]
    """Decisions that a successor received as in doubt."""
    entered_paused: Sequence[str] = ()
    """Decisions to buy that were opened while the bot was paused."""
    unwritten: Sequence[tuple[int, int]] = ()
    """Spans missing from the journal because it could not be written: first and last tick."""


class Evidence(msgspec.Struct, frozen=True):
    journal: JournalSummary
    ledger: Sequence[Record]
    sent: Sequence[OrderRequest]
    unleased: Sequence[str]
    pids: Mapping[str, int]
    """Each worker's process."""
    book: Mapping[str, Any]
    """The bot's state in the end, when it had stopped buying and everything was filled."""
    deployed: Sequence[DeploymentOutcome]
    spoilt: Set[tuple[int, int]] = frozenset()
    """Where in the journal a bit was flipped: segment and byte."""
    died: Sequence[WorkerDeath] = ()
    pauses: Sequence[PauseNote] = ()
    """What had paused the bot according to `status`, once for each `resume` that was sent."""


def read(journal: Path) -> JournalSummary:
    """Read and audit a journal. Raises `JournalError`."""
    decisions: dict[str, int] = {}
    leaders: dict[int, str] = {}
    doubts: set[str] = set()
    unwritten: list[tuple[int, int]] = []
    entered_paused: list[str] = []
    paused = False
    seqs: dict[int, int] = {}
    for found in read_journal(journal):
        match found:
            case Entry(kind=RecordKind.OPENED, payload=payload):
                opened = decode_opened(payload)
                if paused and opened.name == "enter" and opened.id not in decisions:
                    entered_paused.append(opened.id)
                decisions[opened.id] = opened.epoch
            case Entry(kind=RecordKind.SNAPSHOT, payload=payload):
                snapshot = decode_snapshot(payload)
                if snapshot.unwritten is not None:
                    unwritten.append((seqs.get(snapshot.unwritten.after, snapshot.seq), snapshot.seq + 1))
                if snapshot.number >= max(seqs, default=-1):
                    # A segment that was begun earlier repeats frames of the segment before.
                    paused = snapshot.vitals.paused
                seqs[snapshot.number] = snapshot.seq
            case Entry(kind=RecordKind.FRAME, payload=payload):
                frame = decode_frame(payload)
                seqs[frame.number] = frame.seq
                paused = paused if frame.paused is None else frame.paused
                if isinstance(frame.about, Led):
                    leaders[frame.epoch] = frame.about.worker
                    doubts |= set(frame.about.in_doubt)
            case _:
                pass
    return JournalSummary(
        audit(read_journal(journal)), decisions, leaders, frozenset(doubts), entered_paused, unwritten
    )


def violations(evidence: Evidence) -> list[str]:
    """All violations, in words."""
    return [
        *_of_the_journal(evidence.journal.report, evidence.spoilt),
        *_of_the_exchange(evidence),
        *_of_the_lease(evidence),
        *_of_the_state(evidence),
        *_of_the_deployments(evidence.deployed),
        *_of_the_dead(evidence),
        *of_the_pauses(evidence.pauses, evidence.spoilt),
        *(f"{id} was opened while the bot was paused" for id in evidence.journal.entered_paused),
    ]


def of_the_pauses(pauses: Sequence[PauseNote], spoilt: Set[tuple[int, int]]) -> list[str]:
    """Only a flipped bit pauses the bot, once, and the reason names it. Half a record and zeros lose nothing."""
    found: list[str] = []
    left = set(spoilt)
    for pause in pauses:
        named = {(segment, byte) for segment, byte in left if _names(pause.why, segment, byte)}
        if pause.op != "journal" or not named:
            found.append(
                f"the bot is paused, and nothing was done that is a reason for it: "
                f"{pause.op or 'unknown cause'}: {pause.why}"
            )
        left -= named
    return found


def _names(text: str, segment: int, byte: int) -> bool:
    return f"segment {segment} is damaged at byte {byte}:" in text


def _of_the_journal(report: AuditReport, spoilt: Set[tuple[int, int]]) -> list[str]:
    found = [f"invariant {problem.invariant}: {problem.text}" for problem in report.broken]
    for segment, byte in sorted(spoilt):
        named = [item for item in found if _names(item, segment, byte)]
        found = [item for item in found if item not in named]
        if not named:
            found.append(
                f"a bit was flipped in segment {segment} at byte {byte}, and the audit does not report it"
            )
    if report.doubled:
        found.append(f"{report.doubled} ticks ran twice")
    if report.decisions.open:
        found.append(f"decisions are open at the end: {report.decisions.open}")
    return found


def _of_the_exchange(evidence: Evidence) -> list[str]:
    """No order twice, no contract twice, none left in half."""
    verdict = judge(evidence.ledger, time.time_ns(), 0, 0, ("BTC",), TIMEFRAMES)
    found = [f"order {client_id} was sent twice" for client_id in verdict.duplicates]
    found += [f"order {client_id} was left in half" for client_id in verdict.halves]
    bought = Counter(record.contract for record in evidence.ledger if isinstance(record, Reserved))
    found += [f"{contract} was bought {times} times" for contract, times in bought.items() if times > 1]
    return found


def _of_the_lease(evidence: Evidence) -> list[str]:
    """Every order is a decision of its epoch's leader, sent by that one or by a successor that had it in doubt."""
    found = list(evidence.unleased)
    journal = evidence.journal
    for sent in evidence.sent:
        epoch = journal.decisions.get(sent.client_id)
        if epoch is None and _unwritten(sent, journal.unwritten):
            continue
        if epoch is None:
            found.append(f"order {sent.client_id} has no decision in the journal")
            continue
        worker = journal.leaders.get(epoch, "")
        # A leader that died before its first frame is in the journal only by its decisions.
        if worker and sent.pid != evidence.pids.get(worker) and sent.client_id not in journal.doubts:
            found.append(f"order {sent.client_id} of {worker} came from pid {sent.pid}")
    return found


def _unwritten(sent: OrderRequest, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether the bot decided it in a span that it later reported as unwritten."""
    seq = int(sent.client_id.split("-")[1])
    return any(first <= seq <= last for first, last in spans)


def _of_the_state(evidence: Evidence) -> list[str]:
    """The bot knows of every order and of every fill, once."""
    reserved = {record.order: record for record in evidence.ledger if isinstance(record, Reserved)}
    confirmed = [record.order for record in evidence.ledger if isinstance(record, Confirmed)]
    orders = {reserved[order].client_id: reserved[order].contract for order in confirmed}
    fills = {record.fill: record.size for record in evidence.ledger if isinstance(record, Filled)}
    book = evidence.book
    found = [
        f"order {id} ({contract}) is not in the state"
        for id, contract in orders.items()
        if id not in book["orders"]
    ]
    found += [
        f"order {id} is in the state and not in the ledger" for id in book["orders"] if id not in orders
    ]
    found += [f"fill {fill} is not in the state" for fill in fills if fill not in book["fills"]]
    if book["held"] != sum(fills.values()):
        found.append(f"the bot holds {book['held']}, and was filled {sum(fills.values())}")
    return found


def _of_the_deployments(deployed: Sequence[DeploymentOutcome]) -> list[str]:
    found: list[str] = []
    for item in deployed:
        leads = item.wanted if item.outcome == "done" else item.before
        if item.outcome not in ("done", "aborted", "rolled_back"):
            found.append(f"deployment {item.number} has not ended")
        elif item.unfelt and item.outcome != "done":
            found.append(
                f"deployment {item.number} of good code is {item.outcome}, and nothing spoke against it"
            )
        elif leads in item.torn:
            # A release torn by a power cut is made again, or the release before it leads.
            continue
        elif _code(item.led) != _code(leads):
            found.append(
                f"deployment {item.number} is {item.outcome}, and {item.led or 'no worker'} leads instead of {leads}"
            )
    return found


def _of_the_dead(evidence: Evidence) -> list[str]:
    """No worker that led died without a fault that ends a process."""
    led = set(evidence.journal.leaders.values())
    return [f"{item.worker}, which led, died: {item.reason}" for item in evidence.died if item.worker in led]


def _code(release: str) -> str:
    """Which code a release has. When all processes are dead, `up` makes a new release of the same code."""
    return release.rpartition("-")[2]
