"""The finding: compares the exchange's verdict, the bot's own book and the audit, and lists what is wrong."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..system.format import count, last
from ..terminal.screen import Screen, columns
from .acts import Played

__all__ = ["DemoFinding", "Evidence", "closing_lines", "find"]


class Evidence(msgspec.Struct, frozen=True):
    """What was collected at the end."""

    played: Sequence[Played]
    verdict: Mapping[str, Any]
    """The exchange's."""
    ledger: Sequence[Mapping[str, Any]]
    """The exchange's fills."""
    book: Mapping[str, Any]
    """The bot's state."""
    audit: Mapping[str, Any]
    audit_exit: int
    seconds: float
    refused: Sequence[str] = ()
    """Commands that failed, and why."""


class DemoFinding(msgspec.Struct, frozen=True):
    """The JSON object that `neverblink demo --json` ends with. `wrong` is empty when all is right."""

    ok: bool
    handoffs: int
    aborted: int
    rolled_back: int
    ticks: int
    missed: int
    doubled: int
    skipped: int
    windows: dict[str, int]
    blackout_us: dict[str, float | None]
    late_us: dict[str, float | None]
    """Lateness of the first tick after a handoff."""
    orders: dict[str, int]
    fills: dict[str, int]
    seconds: float
    wrong: tuple[str, ...]


def find(evidence: Evidence) -> DemoFinding:
    """Evaluate the evidence."""
    audit, verdict = evidence.audit, evidence.verdict
    outcomes = [played.outcome for played in evidence.played]
    handoffs: Sequence[Mapping[str, Any]] = audit.get("handoffs") or []
    wrong = (
        *(played.wrong for played in evidence.played if played.wrong),
        *evidence.refused,
        *_of_exchange(verdict),
        *_of_book(evidence.ledger, evidence.book),
        *_of_audit(evidence),
    )
    return DemoFinding(
        ok=not wrong,
        handoffs=len(handoffs),
        aborted=outcomes.count("aborted"),
        rolled_back=outcomes.count("rolled_back"),
        ticks=_count(audit.get("ticks")),
        missed=_count(audit.get("missed")),
        doubled=_count(audit.get("doubled")),
        skipped=_count(audit.get("skipped")),
        windows={name: verdict["windows"][name] for name in ("expected", "traded", "doubled")},
        blackout_us=_spread(handoffs, "blackout_us"),
        late_us=_spread(handoffs, "late_us"),
        orders={
            "placed": verdict["orders"],
            "halves": len(verdict["halves"]),
            "duplicates": len(verdict["duplicates"]),
            "refused": len(verdict["refused"]),
        },
        fills={"exchange": len(evidence.ledger), "book": int(evidence.book.get("applied", 0))},
        seconds=round(evidence.seconds, 1),
        wrong=wrong,
    )


def _of_exchange(verdict: Mapping[str, Any]) -> list[str]:
    windows = verdict["windows"]
    wrong: list[str] = []
    if not windows["expected"]:
        wrong.append("exchange: no window passed, so nothing was proven")
    for row in verdict["rows"]:
        wrong += [f"exchange: {contract} was never traded" for contract in row["never"]]
        wrong += [f"exchange: {contract} was traded twice" for contract in row["doubled"]]
    wrong += [f"exchange: order {order} was cut in half" for order in verdict["halves"]]
    wrong += [f"exchange: client order id {order} was sent twice" for order in verdict["duplicates"]]
    wrong += [f"exchange: an order was refused: {reason}" for reason in verdict["refused"]]
    wrong += [f"exchange: order {order} was not filled" for order in verdict["unfilled"]]
    wrong += [f"exchange: {size} of {contract} are still held" for contract, size in verdict["open"].items()]
    return wrong


def _of_book(ledger: Sequence[Mapping[str, Any]], book: Mapping[str, Any]) -> list[str]:
    """Compare the bot's fills with the exchange's: each must be there once."""
    if not book:
        return ["book: the bot did not return it"]
    booked: Mapping[str, Mapping[str, Any]] = book.get("fills") or {}
    reported = {str(fill["fill"]): fill for fill in ledger}
    wrong = [f"book: fill {fill} of the exchange's is missing" for fill in reported.keys() - booked.keys()]
    wrong += [f"book: fill {fill} is not known to the exchange" for fill in booked.keys() - reported.keys()]
    for fill in reported.keys() & booked.keys():
        same = all(reported[fill][name] == value for name, value in booked[fill].items())
        wrong += [] if same else [f"book: fill {fill} is not what the exchange reported"]
    if book.get("applied") != len(reported):
        wrong.append(f"book: {book.get('applied')} fills were applied, the exchange reported {len(reported)}")
    positions: Mapping[str, Any] = book.get("positions") or {}
    wrong += [f"book: {held} of {contract} are still held" for contract, held in positions.items()]
    return sorted(wrong)


def _of_audit(evidence: Evidence) -> list[str]:
    audit = evidence.audit
    wrong = [
        f"audit: {name} is {audit.get(name)}, not 0"
        for name in ("missed", "doubled")
        if _count(audit.get(name))
    ]
    if evidence.audit_exit or not audit.get("ticks"):
        wrong.append(f"audit: ended with exit {evidence.audit_exit}: {_error(audit)}")
    transfers = sum(played.outcome in ("done", "rolled_back") for played in evidence.played)
    if len(audit.get("handoffs") or []) < transfers:
        wrong.append(
            f"audit: it lists {len(audit.get('handoffs') or [])} handoffs, but there were {transfers}"
        )
    return wrong


def _error(audit: Mapping[str, Any]) -> str:
    error: Mapping[str, Any] = audit.get("error") or {}
    return str(error.get("message") or audit.get("broken") or "it found something broken")


def _count(value: Any) -> int:
    """A number, or a list of what it counts."""
    return value if isinstance(value, int) else len(value or ())


def _spread(handoffs: Sequence[Mapping[str, Any]], name: str) -> dict[str, float | None]:
    values = [float(handoff[name]) for handoff in handoffs if handoff.get(name) is not None]
    if not values:
        return {"p50": None, "max": None}
    return {"p50": round(statistics.median(values), 1), "max": round(max(values), 1)}


def closing_lines(finding: DemoFinding, screen: Screen) -> list[str]:
    """The lines with the verdicts of exchange, book and audit, and the conclusion."""
    windows, orders, fills = finding.windows, finding.orders, finding.fills
    table = (
        (
            "the exchange",
            f"{windows['traded']} of {windows['expected']} windows traded, {windows['doubled']} twice",
        ),
        (
            "",
            f"{count(orders['placed'], 'order')}, {orders['duplicates']} sent twice, {orders['halves']} cut in half",
        ),
        (
            "the book",
            f"{count(fills['book'], 'fill')} booked, of {fills['exchange']:,} that the exchange reported",
        ),
        (
            "the audit",
            f"{count(finding.ticks, 'tick')}, {finding.missed} missed, {finding.doubled} run twice",
        ),
        ("", f"{finding.skipped} skipped because the bot itself was late"),
        ("", f"{count(finding.handoffs, 'handoff')}, blackout {_spread_text(finding.blackout_us)}"),
    )
    lines = ["", *columns(table), ""]
    if not finding.ok:
        return [*lines, *(f"{screen.bad('✗')} {problem}" for problem in finding.wrong)]
    summary = (
        f"seven deployments in {finding.seconds:.0f} s, and neither the bot's state nor the exchange noticed"
    )
    return [*lines, f"{screen.good('✓')} {summary}"]


def _spread_text(values: dict[str, float | None]) -> str:
    median, most = values["p50"], values["max"]
    if median is None or most is None:
        return "unknown"
    return f"median {last(int(median * 1000))}, maximum {last(int(most * 1000))}"
