"""journal: what lies in the bot's journal, whether it is whole, and all of it as JSON lines.

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
from .errors import BadInput
from .exit_codes import Exit
from .results import say_json

__all__ = ["journal"]

_LINES = 20


@click.group(cls=Subgroup)
def journal() -> None:
    """What lies in the bot's journal, whether it is whole, and all of it as JSON lines."""


@local_command
def show(context: CommandContext) -> Done:
    """The segments there are, oldest first: what each of them covers, how large it is, and in which state."""
    found = list(survey(_there(context)))
    _show(found, context.screen)
    return Done({"segments": msgspec.to_builtins(found), "bytes": sum(one.size for one in found)})


@local_command
def verify(context: CommandContext) -> Done:
    """Check every record: that it is whole, that it can be read, and that each frame continues the one before.

    Ends with 1 when something is wrong, and says in which segment, at which byte, and what.
    """
    directory = _there(context)
    checked = JournalCheck().check(watched(read_journal(directory), directory, context.screen))
    _tell(checked, context.screen)
    return Done(msgspec.to_builtins(checked), Exit.DONE if checked.ok else Exit.BROKEN)


@local_command
@click.option(
    "--since", metavar="SEQ|TIME", default="", help="From this tick on, or this time, or this long ago."
)
@click.option("--until", metavar="SEQ|TIME", default="", help="Up to this tick, this time, or this long ago.")
@click.option("--snapshots", is_flag=True, help="With the whole state, as each segment opens with it.")
def export(context: CommandContext, since: str, until: str, snapshots: bool) -> Done:
    """Write what the journal holds as JSON lines: frames with their changes, decisions, events and timers.

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
            f"{one.segment}",
            size(one.size),
            "-" if one.first is None else f"{one.first} to {one.last}",
            "-" if one.first_seq is None else f"{one.first_seq} to {one.last_seq}",
            "-" if one.began is None else clock(one.began),
            "-" if one.ended is None else clock(one.ended),
            _state(one, screen),
        )
        for one in found
    ]
    for line in columns(rows):
        screen.line(line.rstrip())
    total = sum(one.size for one in found)
    screen.line(screen.faint(f"{count(len(found), 'segment')}, {size(total)}"))


def _state(one: Covered, screen: Screen) -> str:
    colour = {"damaged": screen.bad, "torn": screen.warn}.get(one.state, str)
    told = colour(one.state) + (f" ({one.problem})" if one.problem else "")
    return told + (screen.warn(", frames before it could not be written") if one.unwritten else "")


def _tell(checked: Verification, screen: Screen) -> None:
    mark = screen.good("whole") if checked.ok else screen.bad("broken")
    frames = "" if checked.first is None else f" ({checked.first} to {checked.last})"
    screen.line(
        f"{mark}  {count(checked.records, 'record')} in {count(checked.segments, 'segment')}, {size(checked.bytes)}, "
        f"{count(checked.frames, 'frame')}{frames}"
    )
    for one in checked.torn[:_LINES]:
        screen.line(f"{screen.faint('torn')}  segment {one.segment} at byte {one.offset}: {one.problem}")
    for one in checked.unwritten[:_LINES]:
        screen.line(f"{screen.warn('lost')}  segment {one.segment}: not written: {one.problem}")
    for one in checked.problems[:_LINES]:
        screen.line(f"{screen.bad('wrong')}  segment {one.segment} at byte {one.offset}: {one.problem}")
    if checked.problems_total > _LINES:
        screen.line(f"{checked.problems_total - _LINES:,} more; --json lists up to {len(checked.problems):,}")
