"""journal: show, verify and export the bot's journal.

Reads the files alone, so it needs no supervisor, and a leader that is writing is not disturbed.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from ..audit.export import export as exported
from ..audit.reader import check_formats, read_journal, segments
from ..audit.verify import Covered, JournalCheck, Verification, survey
from ..system.format import clock, count, size
from ..terminal.screen import Screen, columns
from .audit import span, watched
from .command import Done, Subgroup, local_command
from .context import CommandContext
from .exit_codes import BadInput, Exit
from .results import say_json

__all__ = ["journal"]

_LINES = 20


@click.group(cls=Subgroup)
def journal() -> None:
    """Show, verify or export the bot's journal."""


@local_command
def show(context: CommandContext) -> Done:
    """List the segments, oldest first, with their range, size and state."""
    found = list(survey(_there(context)))
    _show(found, context.screen)
    return Done({"segments": msgspec.to_builtins(found), "bytes": sum(segment.size for segment in found)})


@local_command
def verify(context: CommandContext) -> Done:
    """Check that every record is complete and readable, and that each frame continues the one before.

    Ends with 1 when something is wrong, and says in which segment, at which byte, and what.
    """
    directory = _there(context)
    checked = JournalCheck().check(watched(read_journal(directory), directory, context.screen))
    _tell(checked, context.screen)
    return Done(msgspec.to_builtins(checked), Exit.DONE if checked.ok else Exit.BROKEN)


@local_command
@click.option(
    "--since", metavar="SEQ|TIME", default="", help="Start at this tick, at this time, or this long ago."
)
@click.option(
    "--until", metavar="SEQ|TIME", default="", help="End at this tick, at this time, or this long ago."
)
@click.option("--snapshots", is_flag=True, help="Include the complete state at the start of each segment.")
def export(context: CommandContext, since: str, until: str, snapshots: bool) -> Done:
    """Write the journal as JSON lines: frames with their changes, decisions, events and timers.

    One object a line, each with its `kind`: frame, opened, closed (decisions), snapshot, rows, damage. SEQ and TIME are
    as in `audit`.
    """
    directory = _there(context)
    first, last = span(since, until, time.time_ns())
    lines = exported(
        read_journal(directory),
        since=first,
        until=last,
        snapshots=snapshots,
    )
    for line in lines:
        if not say_json(line):
            break
    return Done()


for _verb in (show, verify, export):
    journal.add_command(_verb)


def _there(context: CommandContext) -> Path:
    directory = context.home.journal
    if not segments(directory):
        raise BadInput(
            f"home {context.home.path}: there is no journal here yet: it begins with `neverblink up`"
        )
    check_formats(directory)
    return directory


def _show(found: list[Covered], screen: Screen) -> None:
    rows = [("segment", "size", "frames", "ticks", "from", "to", "state")]
    rows += [
        (
            f"{segment.segment}",
            size(segment.size),
            "-" if segment.first is None else f"{segment.first} to {segment.last}",
            "-" if segment.first_seq is None else f"{segment.first_seq} to {segment.last_seq}",
            "-" if segment.began is None else clock(segment.began),
            "-" if segment.ended is None else clock(segment.ended),
            _state(segment, screen),
        )
        for segment in found
    ]
    for line in columns(rows):
        screen.line(line.rstrip())
    total = sum(segment.size for segment in found)
    screen.line(screen.faint(f"{count(len(found), 'segment')}, {size(total)}"))


def _state(segment: Covered, screen: Screen) -> str:
    colour = {"damaged": screen.bad, "torn": screen.warn}.get(segment.state, str)
    state = colour(segment.state) + (f" ({segment.problem})" if segment.problem else "")
    return state + (screen.warn(", frames before it could not be written") if segment.unwritten else "")


def _tell(checked: Verification, screen: Screen) -> None:
    mark = screen.good("whole") if checked.ok else screen.bad("broken")
    frames = "" if checked.first is None else f" ({checked.first} to {checked.last})"
    screen.line(
        f"{mark}  {count(checked.records, 'record')} in {count(checked.segments, 'segment')}, {size(checked.bytes)}, "
        f"{count(checked.frames, 'frame')}{frames}"
    )
    for segment in checked.torn[:_LINES]:
        screen.line(
            f"{screen.faint('torn')}  segment {segment.segment} at byte {segment.offset}: {segment.problem}"
        )
    for segment in checked.unwritten[:_LINES]:
        screen.line(f"{screen.warn('lost')}  segment {segment.segment}: not written: {segment.problem}")
    for segment in checked.problems[:_LINES]:
        screen.line(
            f"{screen.bad('wrong')}  segment {segment.segment} at byte {segment.offset}: {segment.problem}"
        )
    if checked.problems_total > _LINES:
        screen.line(f"{checked.problems_total - _LINES:,} more; --json lists up to {len(checked.problems):,}")
