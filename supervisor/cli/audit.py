"""audit: prove from the bot's own journal that no tick was missed or doubled, or list those that were.

It reads the files alone, so it needs no supervisor, and a leader that is writing is not disturbed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec

from ...protocol import duration
from ...protocol.journal import Entry
from ...protocol.window import Window, WindowError, WindowSpec, readable
from ..audit.audit import audit as judge
from ..audit.reader import Found, Segment, read_journal, segments
from ..audit.report import INVARIANTS, AuditReport, Death, Missing, Transfer
from ..audit.scope import Bound, parse_bound
from ..store.history_db import HistoryDb
from ..store.history_rows import WINDOWS
from ..system.format import clock, count, last
from ..terminal.screen import Screen, columns
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput, Exit

__all__ = ["audit", "bound", "show", "span", "watched"]

_LINES = 10
_OFTEN = 1 << 15


@local_command
@click.option(
    "--since", metavar="SEQ|TIME", default="", help="Start at this tick, at this time, or this long ago."
)
@click.option(
    "--until", metavar="SEQ|TIME", default="", help="End at this tick, at this time, or this long ago."
)
@click.option(
    "--window",
    "windows",
    metavar="PERIOD,OPENS,CLOSES",
    multiple=True,
    help="Report on this window, as in 5m,-20s,-5s (otherwise on the bot's own).",
)
def audit(context: CommandContext, since: str, until: str, windows: tuple[str, ...]) -> Done:
    """Prove that no tick was missed or doubled, from the journal alone. Ends with 1 when something is broken.

    SEQ is a tick's index. TIME is 14:05:09, 2026-11-24T14:05:09, or a duration: 10m is ten minutes ago.
    """
    directory = context.home.journal
    if not segments(directory):
        raise BadInput(
            f"home {context.home.path}: there is no journal here yet: it begins with `neverblink up`"
        )
    first, last = span(since, until, time.time_ns())
    report = judge(
        watched(read_journal(directory), directory, context.screen),
        windows=[_window(text) for text in windows] if windows else _known_windows(context),
        since=first,
        until=last,
    )
    _explain(context, report.deaths)
    show(report, context.screen)
    return Done(msgspec.to_builtins(report, str_keys=True), Exit.DONE if report.ok else Exit.BROKEN)


def span(since: str, until: str, now: int) -> tuple[Bound | None, Bound | None]:
    """Parse both bounds; raise `BadInput` when one is invalid, or the first lies after the last."""
    first, last = bound("--since", since, now), bound("--until", until, now)
    if first is not None and last is not None and type(first) is type(last) and first.value > last.value:
        raise BadInput(f"--since {since} lies after --until {until}: swap the two")
    return first, last


def bound(option: str, text: str, now: int) -> Bound | None:
    """Parse a bound of the span; raise `BadInput` when it is not one. `now` is wall ns."""
    text = text.strip()
    if not text:
        return None
    found = parse_bound(text, now)
    if found is None:
        raise BadInput(
            f"{option} {text}: neither a tick's index, nor a time such as 14:05:09 or 2026-11-24T14:05:09, "
            "nor a duration such as 10m"
        )
    return found


def show(report: AuditReport, screen: Screen) -> None:
    """Show the findings: proofs first, what is broken last, where it is seen."""
    if report.ok and not report.chain.frames:
        screen.line("the journal has nothing in this span, so nothing was proven")
        return
    screen.line(_headline(report, screen))
    broken = {finding.invariant for finding in report.broken}
    for invariant, text in INVARIANTS.items():
        mark = screen.bad("broken") if invariant in broken else screen.good("proven")
        if invariant == 9 and not report.values.read:
            # An earlier neverblink wrote no types.
            mark = "unknown"
        screen.line(f"{mark}  {text}")
    screen.line()
    facts = list(_facts(report, screen))
    width = max(9, *(len(name) for name, _ in facts))
    for name, text in facts:
        screen.line(f"{screen.faint(f'{name:<{width}}')}  {text}")
    _show_broken(report, screen)


def _headline(report: AuditReport, screen: Screen) -> str:
    """The summary line. The proofs below it are about what the journal records, missed ticks included."""
    ran = f"{count(report.ticks, 'tick')} ran"
    if report.heartbeats:
        ran = f"{count(report.ticks, 'tick')}, {count(report.turns, 'turn')} ran"
    faults = [
        f"{number:,} {noun}"
        for number, noun in (
            (report.missed, "missed"),
            (report.doubled, "doubled"),
            (report.skipped_total, "skipped"),
        )
        if number
    ]
    if not faults:
        none = "no heartbeat" if report.heartbeats and not report.ticks else "none"
        return screen.good(f"{ran}, {none} missed, none doubled")
    if report.heartbeats:
        units = "ticks or heartbeats" if report.ticks else "heartbeats"
        faults[0] = faults[0].replace(" ", f" {units} ", 1)
    summary = f"{ran}, {', '.join(faults)}"
    return screen.bad(summary) if report.missed or report.doubled else screen.warn(summary)


def _show_broken(report: AuditReport, screen: Screen) -> None:
    if not report.broken:
        return
    screen.line()
    for finding in report.broken[:_LINES]:
        at = "" if finding.number is None else screen.faint(f"  (frame {finding.number})")
        screen.line(f"{screen.bad('broken')}  {finding.text}{at}")
    if report.broken_total > _LINES:
        screen.line(f"{report.broken_total - _LINES:,} more; --json lists up to {len(report.broken):,}")


def _values(report: AuditReport) -> str:
    values = report.values
    parts = [f"{count(values.read, 'field and row', 'fields and rows')} read back as their types"]
    if values.wrong_total:
        parts.append(f"{values.wrong_total:,} wrong")
    if values.untyped:
        parts.append(f"{count(values.untyped, 'frame')} of unknown types")
    return ", ".join(parts)


def _facts(report: AuditReport, screen: Screen) -> Iterator[tuple[str, str]]:
    if report.began is not None and report.ended is not None:
        yield "span", f"{clock(report.began)} to {clock(report.ended)}, {count(report.chain.frames, 'frame')}"
    yield "heartbeats" if report.heartbeats and not report.ticks else "ticks", _ticks(report, screen)
    if report.heartbeats:
        every = f", a heartbeat every {duration.show(report.interval)}" if report.interval else ""
        yield "turns", f"{report.turns:,} of the bot's own{every}"
    yield from (("", line) for line in _ranges(report.missing, "missed"))
    yield from (("", line) for line in _ranges(report.skipped, "skipped"))
    yield from (
        ("clock", f"stepped by {last(round(step.by_us * 1000))} before {_unit(report)} {step.seq}")
        for step in report.clock
    )
    lines = columns([_transfer(transfer, screen) for transfer in report.handoffs[-_LINES:]])
    yield from (("" if at else "handoffs", line.rstrip()) for at, line in enumerate(lines))
    if report.handoffs_total > len(lines):
        yield "", f"{report.handoffs_total - len(lines):,} before these"
    lines = columns([_death(death, screen) for death in report.deaths[-_LINES:]])
    yield from (("" if at else "deaths", line.rstrip()) for at, line in enumerate(lines))
    if report.deaths_total > len(lines):
        yield "", f"{report.deaths_total - len(lines):,} before these"
    for name, window in report.windows.items():
        coverage = f"{window.covered:,} of {count(window.total, 'time')} covered"
        yield "window", f"{name}: {coverage if window.covered == window.total else screen.warn(coverage)}"
        yield from (("", f"not from {clock(span.opens)}") for span in window.uncovered[:_LINES])
    yield from _dealings(report)
    if report.values.read or report.values.untyped:
        yield "values", _values(report)
    if report.resets:
        yield "resets", f"{count(len(report.resets), 'time')} back to the state of the handoff"
    yield from (
        ("schema", f"version {change.before} to {change.after} after tick {change.seq}")
        for change in report.schemas
    )
    for journal in report.unwritten:
        frames = (
            f"frame {journal.first}"
            if journal.first == journal.last
            else f"frames {journal.first:,} to {journal.last:,}"
        )
        yield (
            "unproven",
            screen.warn(f"{frames}, from {clock(journal.since)}, could not be written: {journal.why}"),
        )
    for torn in report.torn:
        yield (
            "torn",
            f"segment {torn.segment} ends in {torn.bytes:,} bytes of an unfinished record",
        )


def _dealings(report: AuditReport) -> Iterator[tuple[str, str]]:
    events, timers, decisions = report.events, report.timers, report.decisions
    for name, summary in (("events", events), ("commands", report.commands)):
        if summary.received or summary.applied:
            yield (
                name,
                f"{summary.received:,} received, {summary.applied:,} applied, {summary.waiting_total:,} waiting",
            )
    if events.dropped:
        yield "full", f"{events.dropped:,} events were dropped, because the inbox was full"
    if events.missing:
        yield "gaps", f"{events.missing:,} numbers of event streams did not come in time, and were given up"
    if events.repeated:
        yield "repeats", f"{events.repeated:,} received again, and dropped"
    if timers.fired or timers.armed:
        late = f", at most {last(round(timers.late_us * 1000))} late" if timers.fired else ""
        yield "timers", f"{timers.fired:,} went off{late}; {timers.armed:,} armed"
    if decisions.opened:
        counts = (
            f"{decisions.opened:,} opened, {decisions.closed:,} closed ({decisions.raised:,} by an exception)"
        )
        yield "decisions", f"{counts}, {len(decisions.in_doubt):,} in doubt, {len(decisions.open):,} open"


def _ticks(report: AuditReport, screen: Screen) -> str:
    def tally(number: int, noun: str) -> str:
        return screen.warn(f"{number:,} {noun}") if number else f"none {noun}"

    parts = [
        tally(report.missed, "missed"),
        tally(report.doubled, "doubled"),
        tally(report.skipped_total, "skipped"),
    ]
    ran = report.ticks + report.heartbeats
    where = f" ({report.first} to {report.last})" if ran else ""
    late = f", at most {last(round(report.late_us * 1000))} late" if ran else ""
    return f"{ran:,}{where}: {', '.join(parts)}{late}"


def _unit(report: AuditReport) -> str:
    """What an index on the grid is."""
    if not report.heartbeats:
        return "tick"
    return "tick or heartbeat" if report.ticks else "heartbeat"


def _ranges(ranges: list[Missing], noun: str) -> Iterator[str]:
    for gap in ranges[:_LINES]:
        which = str(gap.seq) if gap.seq == gap.last else f"{gap.seq} to {gap.last}"
        yield f"{noun} {which}: {gap.cause or 'no cause was recorded'}"
    if len(ranges) > _LINES:
        yield f"{noun} in {len(ranges) - _LINES:,} more places"


def _transfer(transfer: Transfer, screen: Screen) -> tuple[str, ...]:
    cause = transfer.cause
    return (
        _at(transfer),
        cause if cause == "handoff" else screen.warn(cause),
        f"{transfer.from_release or transfer.from_} -> {transfer.to_release or transfer.to}",
        "" if transfer.blackout_us is None else f"blackout {last(round(transfer.blackout_us * 1000))}",
        ""
        if transfer.late_us is None or transfer.heartbeats
        else f"{last(round(transfer.late_us * 1000))} late",
        f"{transfer.missed:,} missed" if transfer.missed else "",
        f"deployment {transfer.deployment}" if transfer.deployment else "",
    )


def _at(change: Transfer | Death) -> str:
    """The new leader's first tick or heartbeat."""
    return f"{'heartbeat' if change.heartbeats else 'tick'} {'-' if change.seq is None else change.seq}"


def _death(death: Death, screen: Screen) -> tuple[str, ...]:
    how = "took over" if death.cause == "failover" else "went on from the journal"
    return (
        _at(death),
        screen.warn(f"{death.worker or 'the leader'} died"),
        death.reason,
        f"{death.successor} {how}",
        f"{death.missed:,} missed" if death.missed else "none missed",
        f"in doubt: {', '.join(death.in_doubt)}" if death.in_doubt else "",
    )


def _window(text: str) -> Window:
    """A window as written on the command line."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3:
        raise BadInput(f"--window {text}: expected PERIOD,OPENS,CLOSES, as in 5m,-20s,-5s")
    try:
        return Window(parts[0], opens=parts[1], closes=parts[2])
    except WindowError as problem:
        raise BadInput(f"--window {text}: {problem.message}") from None


def _explain(context: CommandContext, deaths: Iterable[Death]) -> None:
    """Fill in how each death ended, as far as the history has it."""
    past = _past(context) if deaths else None
    if past is None:
        return
    with past:
        for death in deaths:
            death.reason = past.reason(death.worker)


def _known_windows(context: CommandContext) -> Iterable[Window]:
    """The windows of the current or last leader, as far as the history has them."""
    past = _past(context)
    if past is None:
        return ()
    with past:
        return list(readable(past.kept(WINDOWS, list[WindowSpec]) or ()))


def _past(context: CommandContext) -> HistoryDb | None:
    """The history of the bot that ran here last, None when there is none."""
    if not context.home.database.is_file():
        return None
    with HistoryDb.open(context.home.database, "", read_only=True) as file:
        bots = file.bots()
    return HistoryDb.open(context.home.database, bots[0], read_only=True) if bots else None


def watched(found: Iterable[Found], directory: Path, screen: Screen) -> Iterator[Found]:
    """Yield the items while showing the progress: a long journal takes a while."""
    if not screen.lively:
        yield from found
        return
    sizes = {number: path.stat().st_size for number, path in segments(directory)}
    total, before, at = sum(sizes.values()) or 1, 0, 0
    current = 0
    for number, item in enumerate(found):
        if isinstance(item, Segment):
            before, current = before + current, item.size
        elif isinstance(item, Entry) and number % _OFTEN == 0:
            at = min(99, (before + item.end) * 100 // total)
            screen.live(f"reading the journal: {at}%")
        yield item
    screen.live("")
