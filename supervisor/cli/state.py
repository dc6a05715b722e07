"""state: show the bot's state, compare two points of it, export it, and change it at a boundary.

What only looks reads the journal's files, so it works whether or not a supervisor runs, and does not disturb a leader
that is writing; with --server it asks the supervisor there. What changes the state asks the supervisor.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import msgspec

from ...protocol.commands import (
    Command,
    CompareStates,
    ImportState,
    RestoreState,
    SetState,
    ShowState,
    Status,
)
from ...protocol.state.diff import FieldDiff, RowsDiff, ValueChange
from ...protocol.state.typed_json import is_scalar, key_text
from ...protocol.text import DuplicateKey, refuse_duplicates
from ...protocol.wire import UNDECODABLE
from ..api.client import Client, CommandFault, convert
from ..state.decisions import DecisionSince
from ..state.document import LARGEST_DOCUMENT, parse_document, read_document
from ..state.reader import StateComparison, StatePage, StatePoint, StateReader
from ..system.disk import rename_durably
from ..system.errors import Refusal
from ..system.format import clock, count
from ..terminal.screen import Screen, columns
from .bot_commands import confirm_bot
from .command import Done, Subgroup, local_command, remote_command
from .completion import complete_release
from .context import CommandContext
from .exit_codes import BadInput
from .operations import seconds
from .results import say_json

__all__ = ["state", "value_of", "write_export"]

T = TypeVar("T")

_LINES = 20
_WIDEST = 60
_PREPARED_WITHIN = 120.0
"""Seconds for reading a journal: some hundred megabytes, at most."""

_within = click.option(
    "--within", default="60s", show_default=True, help="How long to wait for the bot's answer."
)
_why = click.option("-m", "--why", default="", metavar="WHY", help="Why, for the history.")
_yes = click.option("--yes", is_flag=True, help="Do not ask for the bot's name.")
_at = click.option(
    "--at", default="", metavar="POINT", help="At this point of the bot's life (default: now)."
)
_in_doubt = click.option("--in-doubt", is_flag=True, help="Also when decisions are in doubt.")
_limit = click.option("--limit", default=100, show_default=True, help="At most so many rows or items.")
_offset = click.option("--offset", default=0, help="From this row or item on.")


@click.group(cls=Subgroup)
def state() -> None:
    """Show the bot's state, compare two points of it, and bring an earlier one back.

    A POINT is now, a tick's index, a time (09:00, 2026-11-24T09:00:00, or 10m for ten minutes ago), frame:NUMBER, a
    decision's id (the state it was taken in), or a release (the state that it left).
    """


@remote_command
@click.argument("path", default="")
@_at
@_offset
@_limit
def show(context: CommandContext, path: str, at: str, offset: int, limit: int) -> Done:
    """Show the state, or the value at PATH: positions.BTC.size, levels[0], armed["a.b"]."""
    return _show(context, path, at, offset, limit)


@remote_command
@click.argument("point", shell_complete=complete_release)
@click.argument("path", default="")
@_offset
@_limit
def at(context: CommandContext, point: str, path: str, offset: int, limit: int) -> Done:
    """Show the state as it was at POINT, or the value at PATH in it."""
    return _show(context, path, point, offset, limit)


@remote_command
@click.argument("a", metavar="POINT", shell_complete=complete_release)
@click.argument("b", metavar="[POINT]", default="now", shell_complete=complete_release)
@click.option("--limit", default=100, show_default=True, help="At most so many single values.")
def diff(context: CommandContext, a: str, b: str, limit: int) -> Done:
    """Show what differs between the states at two points: fields, rows and values."""
    found = _look(
        context,
        CompareStates(a=a, b=b, limit=limit),
        lambda reader: reader.compare(a, b, limit),
        StateComparison,
    )
    screen = context.screen
    screen.line(f"from  {_point(found.a)}")
    screen.line(f"to    {_point(found.b)}")
    _show_differences(screen, found.fields, found.tables, found.changes, found.total)
    return Done(msgspec.to_builtins(found))


@local_command
@click.option("--at", default="", metavar="POINT", help="At this point of the bot's life (default: now).")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file.")
def export(context: CommandContext, at: str, output: Path | None) -> Done:
    """Write the state as one JSON object, with the schema of its types: for programs, and for `state import`."""
    try:
        document = StateReader(context.home).export(at)
    except Refusal as problem:
        raise CommandFault(problem.fault) from None
    if output is None:
        say_json(document)
        return Done()
    path = context.path(output)
    write_export(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    context.screen.line(f"{context.screen.good('exported')}  {_point(_point_of(document))} to {path}")
    return Done({"path": str(path), "point": document["point"]})


@remote_command
@click.argument("file", type=click.Path(path_type=Path))
@_in_doubt
@_yes
@_why
@_within
def import_(context: CommandContext, file: Path, in_doubt: bool, yes: bool, why: str, within: str) -> Done:
    """Have the bot's state be what the exported FILE says ("-": standard input). Fields that it leaves out stay.

    It is read with the bot's own types between two turns, and refused as a whole when it does not fit. Without
    --in-doubt it is refused when decisions are in doubt, since the export or of an outage not acknowledged.
    """
    wait = seconds(within)
    with context.client() as client:
        name = _confirmed(context, client, yes, "This replaces the state of {name} by the file's")
        if str(file) == "-" or context.server:
            document = _refusable(lambda: _document(context, file))
            wanted = ImportState(document=document, confirm=name, in_doubt=in_doubt, why=why)
        else:
            path = str(context.path(file))
            _refusable(lambda: read_document(path))
            wanted = ImportState(path=path, confirm=name, in_doubt=in_doubt, why=why)
        result: dict[str, Any] = client.ask(wanted, within=wait + _PREPARED_WITHIN)
    context.screen.line(f"{context.screen.good('imported')}  {_undo(result)}")
    return Done(result)


@remote_command
@click.argument("point", shell_complete=complete_release)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--in-doubt", is_flag=True, help="Also when decisions since then are in doubt.")
@_yes
@_why
@_within
def restore(
    context: CommandContext, point: str, dry_run: bool, in_doubt: bool, yes: bool, why: str, within: str
) -> Done:
    """Have the bot's state and timers be what they were at POINT, between two of its turns.

    What would change, and which decisions were taken since, is shown first. Settings, the pause and the memory of
    applied events stay as they are. It can be undone by another restore, which is shown. Decisions that are in doubt
    since then are named, and it is refused without --in-doubt.
    """
    wait, screen = seconds(within), context.screen
    with context.client() as client:
        preview: dict[str, Any] = client.ask(RestoreState(at=point, dry_run=True), within=_PREPARED_WITHIN)
        found = convert(preview["point"], StatePoint)
        _preview(screen, preview)
        if dry_run:
            return Done(preview)
        # The exact frame: "10m" is another moment by the time the question is answered.
        exact = f"frame:{found.number}"
        name = _confirmed(context, client, yes, "This puts {name} back to that state")
        wanted = RestoreState(at=exact, confirm=name, in_doubt=in_doubt, why=why)
        result: dict[str, Any] = client.ask(wanted, within=wait + _PREPARED_WITHIN)
    screen.line(f"{screen.good('restored')}  the state of {_point(found)}; {_undo(result)}")
    return Done(result)


@remote_command
@click.argument("path")
@click.argument("value")
@_in_doubt
@_yes
@_why
@_within
def set_(
    context: CommandContext, path: str, value: str, in_doubt: bool, yes: bool, why: str, within: str
) -> Done:
    """Have the value at PATH be VALUE: neverblink state set positions.BTC.size 0.5

    VALUE is JSON (3, true, "text", {"size": 1}) or, where it is not, text. The bot's own type says whether it fits.
    Without --in-doubt it is refused when decisions of an outage that is not acknowledged are in doubt.
    """
    wait, screen = seconds(within), context.screen
    wanted = value_of(value)
    with context.client() as client:
        name = _confirmed(context, client, yes, f"This sets {path} of {{name}} to {_short(wanted)}")
        request = SetState(path=path, value=wanted, confirm=name, in_doubt=in_doubt, why=why)
        result: dict[str, Any] = client.ask(request, within=wait)
    screen.line(
        f"{screen.good(result['path'])}  {_short(result['old'])} -> {_short(result['new'])}; {_undo(result)}"
    )
    return Done(result)


# A value may be a negative number.
set_.context_settings = {"ignore_unknown_options": True}
for _verb in (show, at, diff, export, import_, restore, set_):
    state.add_command(_verb)


def write_export(path: Path, data: bytes) -> None:
    """Write the file, or leave what was there: half an export must not pass for one."""
    # Renaming would replace a link, and a pipe or a device, by a file.
    target = path if path.exists() and not path.is_file() else path.resolve()
    new = target.with_name(f".{target.name}.new")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return
        new.write_bytes(data)
        rename_durably(new, target)
    except OSError as problem:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise BadInput(f"{path} cannot be written: {problem.strerror}") from None


def _look(context: CommandContext, command: Command, read: Callable[[StateReader], T], kind: type[T]) -> T:
    """Look at the journal here, or ask the server where one is named."""
    if not context.server:
        return _refusable(lambda: read(StateReader(context.home)))
    with context.client() as client:
        return convert(client.ask(command, within=_PREPARED_WITHIN), kind)


def _refusable(act: Callable[[], T]) -> T:
    try:
        return act()
    except Refusal as problem:
        raise CommandFault(problem.fault) from None


def _show(context: CommandContext, path: str, at: str, offset: int, limit: int) -> Done:
    page = _look(
        context,
        ShowState(path=path, at=at, offset=offset, limit=limit),
        lambda reader: reader.show(path, at, offset, limit),
        StatePage,
    )
    screen = context.screen
    screen.line(screen.faint(_point(page.point)))
    if page.fields is not None:
        rows = [(one.name, _summary(one.value, one.items), screen.faint(one.type)) for one in page.fields]
        for line in columns(rows):
            screen.line(line.rstrip())
    elif page.items is not None:
        if not page.items:
            screen.line("there is nothing in it" if not page.total else f"it has {count(page.total, 'item')}")
        for key, value in page.items:
            screen.line(f"{screen.good(key_text(key))}  {_said(value)}")
        last = page.offset + len(page.items)
        if page.items and page.total is not None and (last < page.total or page.offset):
            more = f", go on with --offset {last}" if last < page.total else ""
            screen.line(screen.faint(f"{page.offset + 1:,} to {last:,} of {page.total:,}{more}"))
    else:
        text = msgspec.json.format(msgspec.json.encode(page.value), indent=2).decode()
        for line in text.splitlines():
            screen.line(line)
    return Done(msgspec.to_builtins(page))


def _summary(value: Any, items: int | None) -> str:
    text = "" if value is None and items is not None else _said(value)
    if text and len(text) <= _WIDEST:
        return text
    return count(items, "item") if items is not None else f"{text[:_WIDEST]}…"


def _point(point: StatePoint) -> str:
    tick = f"tick {point.seq}" if point.seq is not None else "before the first tick"
    by = f", release {point.release}" if point.release else ""
    when = f", {clock(point.at)}" if point.at else ""
    paused = ", paused" if point.paused else ""
    return f"{tick}{when}{by}{paused} (frame {point.number})"


def _point_of(document: dict[str, Any]) -> StatePoint:
    return convert(document["point"], StatePoint)


def _preview(screen: Screen, preview: dict[str, Any]) -> None:
    screen.line(f"the state of {_point(convert(preview['point'], StatePoint))}:")
    _show_differences(
        screen,
        convert(preview["fields"], list[FieldDiff]),
        convert(preview["tables"], list[RowsDiff]),
        convert(preview["changes"], list[ValueChange]),
        int(preview["total"]),
    )
    timers = cast("list[str]", preview["timers"])
    if timers:
        differ = "differs" if len(timers) == 1 else "differ"
        screen.line(f"{count(len(timers), 'timer')} {differ}: {', '.join(timers[:_LINES])}")
    decisions = convert(preview["decisions"], list[DecisionSince])
    if decisions:
        screen.line(
            screen.warn(f"{count(len(decisions), 'decision')} since then, which that state does not know:")
        )
        for one in decisions[-_LINES:]:
            told = one.outcome if one.outcome == "done" else screen.bad(one.outcome)
            screen.line(f"  {one.id}  {one.name}  {clock(one.at)}  {told}")


def _show_differences(
    screen: Screen, fields: list[FieldDiff], tables: list[RowsDiff], changes: list[ValueChange], total: int
) -> None:
    for line in _differences(screen, fields, tables, changes, total):
        screen.line(line)


def _differences(
    screen: Screen, fields: list[FieldDiff], tables: list[RowsDiff], changes: list[ValueChange], total: int
) -> Iterator[str]:
    if not fields and not total:
        yield "nothing differs"
    for field in fields:
        held = count(field.rows, "row") if field.rows is not None else _short(field.value)
        match field.kind:
            case "dropped":
                yield f"{screen.bad('dropped')}  {field.name}: {field.before}, {held}"
            case "added":
                yield f"{screen.good('added')}  {field.name}: {field.after}, {held}"
            case "retyped":
                yield f"{screen.warn('retyped')}  {field.name}: {field.before} -> {field.after}"
    for table in tables:
        parts = ((table.added, "added"), (table.removed, "removed"), (table.changed, "changed"))
        told = ", ".join(f"{number:,} {word}" for number, word in parts if number)
        yield f"{table.name}  {table.before:,} -> {count(table.after, 'row')}: {told}"
    for change in changes:
        match change.there:
            case "before":
                yield f"{screen.bad('-')} {change.path}  {_short(change.before)}"
            case "after":
                yield f"{screen.good('+')} {change.path}  {_short(change.after)}"
            case _:
                yield f"{screen.warn('~')} {change.path}  {_short(change.before)} -> {_short(change.after)}"
    if total > len(changes):
        yield f"{total - len(changes):,} more values differ; --limit shows more"


def _said(value: Any) -> str:
    """A value in a line: JSON, but for a single value that JSON has no form for, such as nan."""
    if isinstance(value, dict) and is_scalar(value):
        return str(next(iter(cast("dict[str, Any]", value).values())))
    return json.dumps(value, ensure_ascii=False)


def _short(value: Any) -> str:
    text = _said(value)
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"


def _undo(result: dict[str, Any]) -> str:
    return f"undo with `neverblink state restore {result['undo']}`"


def _confirmed(context: CommandContext, client: Client, yes: bool, what: str) -> str:
    """The bot's name, typed by the user where they are to confirm."""
    name = str(client.ask(Status())["bot"])
    if not yes:
        confirm_bot(context, name, what.format(name=name))
    return name


def value_of(text: str) -> Any:
    try:
        value: Any = msgspec.json.decode(text)
    except UNDECODABLE:
        return text
    try:
        refuse_duplicates(text.encode())
    except DuplicateKey as problem:
        raise BadInput(f"the value: {problem}: give it once") from None
    return value


def _document(context: CommandContext, file: Path) -> dict[str, Any]:
    """The exported state in a file, or in the standard input."""
    if str(file) != "-":
        return read_document(str(context.path(file)))
    return parse_document(sys.stdin.buffer.read(LARGEST_DOCUMENT + 1), "the standard input")
