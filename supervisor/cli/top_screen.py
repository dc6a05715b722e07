"""Draws a picture of the bot as a terminal's lines. Does no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from ...protocol import duration
from ...protocol.status import BotStatus
from ..api.status import describe_next_start
from ..audit.recent_ticks import RecentTick
from ..bot.outages import describe_outage
from ..system.format import ago, count, last
from ..terminal.deployment_lines import DeploymentLine, unit_of
from .status import describe_inbox, describe_pause, describe_task, describe_unverified
from .tick_chart import Column, chart, level, mark_of
from .top_view import TopSnapshot

__all__ = ["KEYS", "draw"]

KEYS = "q quit   p pause, resume   d deploy   r roll back"

_BLOCKS = "▁▂▃▄▅▆▇█"
_COLOURS = ("cyan", "magenta", "yellow", "blue", "green")
_STATES = {"running": "bold green", "paused": "bold yellow", "starting": "yellow", "stopping": "yellow"}
_MOST_DECISIONS = 3
_MOST_WARNINGS = 3
_WELL = ("running", "starting")
"""States of a task that need no warning."""
_LABEL = 10


def draw(picture: TopSnapshot, width: int, height: int, bottom: str = KEYS) -> list[Text]:
    """The lines of a screen, at most `height` of them, and none wider than `width`."""
    if picture.status is None:
        why = picture.away or "asking the supervisor"
        lines = [Text(why, "bold red" if picture.away else "")]
    else:
        lines = _rows(picture, picture.status)
        left = height - 1 - len(lines)
        tall = 2 if left >= 10 else 1
        lines += _strip(picture, picture.status, width, tall)
        lines += _deployment(picture, width, height - 1 - len(lines))
    del lines[max(0, height - 1) :]
    if bottom:
        lines += [Text() for _ in range(height - 1 - len(lines))]
        lines.append(Text(picture.message or bottom, "bold yellow" if picture.message else "dim"))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _rows(picture: TopSnapshot, status: BotStatus) -> list[Text]:
    now = picture.now
    title = Text.assemble(
        (status.bot, "bold"),
        "  ",
        (status.state, _STATES.get(status.state, "bold red")),
        f"  {status.release or status.reason}",
    )
    rows = [title]
    if picture.away:
        away = Text.assemble(
            ("the supervisor has not answered", "bold red"), f" for {_whole(picture.away_for)}"
        )
        rows.append(_row("away", away.append("; the bot ticks on without it")))
    if status.worker:
        rows.append(
            _row(
                "leader",
                f"{status.worker}, epoch {status.epoch}, pid {status.pid}, leads for {_whole(now - status.since)}",
            )
        )
        rows.append(_row("turns" if status.event_driven else "tick", _tick(picture, status)))
    else:
        rows.append(_row("leader", Text.assemble(("none", "bold red"), f": {status.reason}")))
        if status.next_start is not None:
            rows.append(_row("start", describe_next_start(status.next_start, now)))
    if status.windows:
        rows.append(_row("windows", _windows(status, now)))
    rows += _decisions(status, now)
    if status.paused:
        pause = f"; {describe_pause(status.pause, now)}" if status.pause is not None else ""
        rows.append(_row("paused", Text(f"no new entries; exits continue{pause}", "yellow")))
    rows += _warnings(status, now)
    if status.standby is not None:
        standby = status.standby
        lag = (
            f", {last(standby.lag)} behind"
            if standby.state == "ready"
            else f": {standby.reason}"
            if standby.reason
            else ""
        )
        rows.append(
            _row(
                "standby",
                Text.assemble(
                    f"{standby.worker} ",
                    (standby.state, "green" if standby.state == "ready" else "yellow"),
                    lag,
                ),
            )
        )
    rows.append(_row("last", _last(status, now)))
    return rows


def _tick(picture: TopSnapshot, status: BotStatus) -> str:
    newest = next((tick for tick in reversed(picture.seen) if isinstance(tick, RecentTick)), None)
    seq = max(status.seq, newest.seq) if newest is not None else status.seq
    unit = unit_of(status.event_driven)
    skipped = f", {count(status.skipped, unit)} skipped" if status.skipped else ""
    waiting = (
        f", {count(status.inbox.waiting, 'event')} waiting" if status.inbox and status.inbox.waiting else ""
    )
    position = f"{count(status.turns, 'turn')}, a heartbeat" if status.event_driven else f"{seq}, one"
    return f"{position} every {duration.show(status.interval)}{skipped}{waiting}"


def _windows(status: BotStatus, now: int) -> Text:
    text = Text()
    for window in status.windows:
        if text:
            text.append("   ")
        text.append(f"{window.name} ")
        if window.opens <= now < window.closes:
            text.append(f"OPEN, closes in {_whole(window.closes - now)}", "bold yellow")
        else:
            text.append(f"opens in {_whole(max(0, window.opens - now))}")
    return text


def _decisions(status: BotStatus, now: int) -> list[Text]:
    rows = [
        _row("decision", f"{decision.name} ({decision.id}) is open for {_whole(now - decision.at)}")
        for decision in status.decisions[:_MOST_DECISIONS]
    ]
    if rows and len(status.decisions) > len(rows):
        rows[-1].append(f", and {len(status.decisions) - len(rows)} more")
    return rows


def _warnings(status: BotStatus, now: int) -> list[Text]:
    found: list[tuple[str, str]] = []
    if status.slow:
        found.append(("slow", status.slow))
    if status.journal is not None and status.journal.failing:
        found.append(("journal", f"cannot be written: {status.journal.failing}"))
    found += [("state", problem.text.removeprefix("state ")) for problem in status.problems]
    if lost := describe_inbox(status.inbox):
        found.append(("inbox", lost))
    found += [("task", describe_task(task, now)) for task in status.tasks if task.state not in _WELL]
    *before, newest = status.outages or (None,)
    if newest is not None:
        more = f" (and {len(before)} before it)" if before else ""
        found.append(("outage", describe_outage(newest, now) + more))
    if status.lock is not None:
        found.append(("locked", f"{status.lock.why}, by {status.lock.who or 'unknown'}"))
    found += [
        ("notify", f"{target.name} has failed for {_whole(now - target.since)}: {target.reason}")
        for target in status.notify
        if target.state == "failing"
    ]
    if unverified := describe_unverified(status):
        found.append(("state", unverified))
    return [_row(name, Text(text, "yellow")) for name, text in found[:_MOST_WARNINGS]]


def _last(status: BotStatus, now: int) -> Text | str:
    ended = status.last
    if ended is None:
        return "no deployment yet"
    well = ended.outcome in ("done", "rehearsed")
    text = Text.assemble(
        f"deployment {ended.deployment} ",
        (ended.outcome.replace("_", " "), "green" if well else "red"),
        f" {ago(ended.at, now)}",
    )
    if ended.blackout:
        text.append(f", blackout {last(ended.blackout)}")
    if ended.reason and not well:
        text.append(f": {ended.reason}")
    return text


# --- the strip


def _strip(picture: TopSnapshot, status: BotStatus, width: int, tall: int) -> list[Text]:
    columns = chart(picture.seen, status.interval, max(1, width - _LABEL))
    unit = unit_of(status.event_driven)
    if not columns:
        return [_heading(f"{unit}s: none seen yet", width)]
    interval = status.interval
    late, took = max(column.late for column in columns), max(column.took for column in columns)
    missed = sum(not column.worker for column in columns)
    lost = f", {missed} missed" if missed else ""
    if picture.measured:
        head = f"{unit}s: worst lateness {last(late)}, longest {last(took)}{lost}"
    else:
        head = f"{unit}s, from the leader's reports: worst lateness {last(late)}"
    rows = [_heading(head, width)]
    rows += _bars("late", columns, [column.late for column in columns], interval, tall)
    if picture.measured:
        rows += _bars("took", columns, [column.took for column in columns], interval, 1)
    rows.append(_marks(columns))
    return rows


def _bars(
    name: str, columns: Sequence[Column], values: Sequence[int], interval: int, tall: int
) -> list[Text]:
    rows: list[Text] = []
    for row in reversed(range(tall)):
        line = _row(name if row == 0 else "", "")
        for column, value in zip(columns, values, strict=True):
            if not column.worker:
                line.append("×" if row == 0 else " ", "bold red")
                continue
            height = level(value, interval, tall * len(_BLOCKS)) - row * len(_BLOCKS)
            block = " " if height <= 0 else _BLOCKS[min(height, len(_BLOCKS)) - 1]
            line.append(block, "bold red" if column.skipped else _colour(column.worker))
        rows.append(line)
    return rows


def _marks(columns: Sequence[Column]) -> Text:
    """Who leads, below the tick at which the lead begins."""
    line = _row("", "")
    for place, column in enumerate(columns):
        written = cell_len(line.plain) - _LABEL
        if written > place:
            continue
        line.append(" " * (place - written))
        if column.change is not None:
            style = "bold" if column.change.cause == "handoff" else "bold red"
            line.append(mark_of(column.change), style)
        elif place == 0 and column.worker:
            line.append(column.worker, _colour(column.worker))
    return line


def _colour(worker: str) -> str:
    number = worker.lstrip("w")
    return _COLOURS[int(number) % len(_COLOURS)] if number.isdecimal() else _COLOURS[0]


# --- a deployment


def _deployment(picture: TopSnapshot, width: int, height: int) -> list[Text]:
    if not picture.deployment or height < 2:
        return []
    number = picture.deployment
    if picture.phase:
        holding = picture.status.deployment.holding if picture.status and picture.status.deployment else ""
        held = f", held by {holding}" if holding else ""
        head = f"deployment {number}: {picture.phase}{held}, for {_whole(picture.now - picture.since)}"
    else:
        head = f"deployment {number}: {picture.lines[-1].name if picture.lines else 'over'}"
    return [_heading(head, width), *(_event(line) for line in picture.lines[-(height - 1) :])]


def _event(line: DeploymentLine) -> Text:
    mark = ("✗ ", "bold red") if line.bad else ("✓ ", "green")
    took = last(line.took) if line.took else ""
    text = f"{line.details}  " if line.details and took else line.details
    return Text.assemble(mark, f"{line.name:<12} {text}", (took, "dim"))


# --- parts


def _row(name: str, text: str | Text) -> Text:
    row = Text(no_wrap=True)
    row.append(f"{name:<{_LABEL}}", "dim")
    return row.append(text) if isinstance(text, str) else row.append_text(text)


def _heading(text: str, width: int) -> Text:
    return Text(f"── {text} ".ljust(width, "─"), "dim")


def _whole(ns: int) -> str:
    """A running duration, in whole seconds."""
    return last(max(0, ns) // 1_000_000_000 * 1_000_000_000) if ns >= 1_000_000_000 else "0 s"
