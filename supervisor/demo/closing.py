"""The last lines of the demo: what was found, for people."""

from __future__ import annotations

from ..system.format import count, last
from ..terminal.screen import Screen, columns
from .finding import DemoFinding

__all__ = ["closing_lines"]


def closing_lines(finding: DemoFinding, screen: Screen) -> list[str]:
    """What the exchange, the book and the audit said, and whether all is right."""
    windows, orders, fills = finding.windows, finding.orders, finding.fills
    said = (
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
            f"{count(fills['book'], 'fill')} booked, of {fills['exchange']:,} that the exchange told everybody of",
        ),
        (
            "the audit",
            f"{count(finding.ticks, 'tick')}, {finding.missed} missed, {finding.doubled} run twice",
        ),
        ("", f"{finding.skipped} skipped because the bot itself was late"),
        ("", f"{count(finding.handoffs, 'handoff')}, blackout {_spread(finding.blackout_us)}"),
    )
    lines = ["", *columns(said), ""]
    if not finding.ok:
        return [*lines, *(f"{screen.bad('✗')} {problem}" for problem in finding.wrong)]
    told = (
        f"seven deployments in {finding.seconds:.0f} s, and neither the bot's state nor the exchange noticed"
    )
    return [*lines, f"{screen.good('✓')} {told}"]


def _spread(values: dict[str, float | None]) -> str:
    median, most = values["p50"], values["max"]
    if median is None or most is None:
        return "unknown"
    return f"{last(int(median * 1000))} in the middle, {last(int(most * 1000))} at most"
