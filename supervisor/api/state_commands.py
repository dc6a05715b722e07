"""The commands about the bot's state: show it, compare it, and change it at a boundary.

A change is prepared here, from the journal: the state that is wanted is staged in a file of the home, and the leader
takes it from there in a turn of its own. It is read with the bot's own types there, and refused when it does not fit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ...protocol.commands import CompareStates, ImportState, RestoreState, SetState, ShowState
from ...protocol.errors import NeverblinkError
from ...protocol.link import Doubt
from ...protocol.state.diff import state_diff
from ...protocol.state.values import StagedState
from ...protocol.status import JournalSeen
from ...protocol.wire import UNDECODABLE
from ..bot.bot import LiveBot
from ..bot.journal_health import journal_of
from ..state.decisions import DecisionSince, decisions_since
from ..state.document import read_document, stage, staged_from
from ..state.reader import StatePoint, StateReader, point_of
from ..state.state_at import StateAt
from ..store.state_dir import Home
from ..system.errors import Refusal
from ..system.format import clock
from .bot_commands import BotCommands

__all__ = ["AboutState", "StateCommands", "check_written"]

AboutState = ShowState | CompareStates | RestoreState | ImportState | SetState

InDoubt = DecisionSince | Doubt

T = TypeVar("T")

IN_DOUBT = "in doubt"
_NAMED = 8
_LISTED = 100


class StateCommands:
    """Carries them out for one bot. Every method raises `Refusal`."""

    def __init__(self, bot: LiveBot, home: Home, bot_commands: BotCommands) -> None:
        self._bot = bot
        self._home = home
        self._bot_commands = bot_commands
        self._reader = StateReader(home)
        self._reading = asyncio.Lock()

    async def carry_out(self, command: AboutState, once: str = "") -> Any:
        """Do it, and return the result. `once` is a key under which it is done once, however often it is asked."""
        reader = self._reader
        match command:
            case ShowState():
                return await self._read(reader.show, command.path, command.at, command.offset, command.limit)
            case CompareStates():
                return await self._read(reader.compare, command.a, command.b, command.limit)
            case RestoreState():
                return await self._restore(command, once)
            case ImportState():
                return await self._import(command, once)
            case SetState():
                self._check(command.confirm)
                self._check_in_doubt(self._unacknowledged(), command.in_doubt)
                args = {"path": command.path, "value": command.value}
                answered = await self._bot_commands.run("state-set", args, once)
                return {**_answer(answered.value), "seq": answered.seq}

    async def _restore(self, command: RestoreState, once: str) -> dict[str, Any]:
        check_written(journal_of(self._bot.state.leading))
        found = await self._read(self._reader.find, command.at)
        preview, doubts = await self._read(self._preview, found)
        if command.dry_run:
            return preview
        self._check(command.confirm)
        self._check_in_doubt(doubts, command.in_doubt, since=" since then")
        staged = found.values.staged(found.timers)
        return {**preview, **await self._put(staged, command.at, once)}

    async def _import(self, command: ImportState, once: str) -> dict[str, Any]:
        if bool(command.path) == bool(command.document):
            raise Refusal("bad-input", "an import takes a path or a document: give one of the two")
        document = command.document or await self._read(read_document, command.path)
        now = await self._read(self._reader.find, "")
        try:
            staged = await self._read(staged_from, document, now.values)
        except NeverblinkError as problem:
            if isinstance(problem, Refusal):
                raise
            raise Refusal("bad-input", problem.message) from None
        self._check(command.confirm)
        since = await self._read(self._since_export, document)
        doubts = {doubt.id: doubt for doubt in [*self._unacknowledged(), *since]}
        self._check_in_doubt(list(doubts.values()), command.in_doubt)
        return await self._put(staged, command.path or "a document", once)

    async def _put(self, staged: StagedState, of: str, once: str) -> dict[str, Any]:
        """Have the leader take a state."""
        path = await self._read(stage, self._home, staged)
        try:
            answered = await self._bot_commands.run("state-restore", {"file": str(path), "of": of}, once)
        except Refusal as problem:
            # Without an answer the leader may still take it; it is removed later.
            if problem.fault.code != "boundary":
                await self._read(_remove, path)
            raise
        await self._read(_remove, path)
        return {**_answer(answered.value), "seq": answered.seq}

    async def _read(self, read: Callable[..., T], *args: Any) -> T:
        """Read or write files in a thread, one request after another: a state may be large."""
        async with self._reading:
            return await asyncio.to_thread(read, *args)

    def _preview(self, found: StateAt) -> tuple[dict[str, Any], list[DecisionSince]]:
        now = self._reader.find("")
        decisions = decisions_since(self._home.journal, found.number)
        doubts = _in_doubt(decisions)
        diff = state_diff(now.values, found.values, _LISTED)
        timers = sorted(
            name
            for name in now.timers.keys() | found.timers.keys()
            if now.timers.get(name) != found.timers.get(name)
        )
        return {
            "point": point_of(found),
            "fields": diff.fields,
            "tables": diff.tables,
            "changes": diff.changes,
            "total": diff.total,
            "timers": timers,
            "decisions": decisions[-_LISTED:],
            "in_doubt": [decision.id for decision in doubts],
        }, doubts

    def _unacknowledged(self) -> list[InDoubt]:
        """The decisions in doubt of outages that no operator has acknowledged."""
        return [doubt for outage in self._bot.outages.unacknowledged for doubt in outage.in_doubt]

    def _since_export(self, document: dict[str, Any]) -> list[DecisionSince]:
        """The decisions in doubt since an export of this bot; none for an export of another one."""
        try:
            point = msgspec.convert(document.get("point"), StatePoint)
            found = self._reader.find(f"frame:{point.number}")
        except (*UNDECODABLE, Refusal):
            return []
        if point_of(found) != point:
            return []
        return _in_doubt(decisions_since(self._home.journal, point.number))

    def _check_in_doubt(self, doubts: Sequence[InDoubt], admitted: bool, since: str = "") -> None:
        """Refuse a change over decisions in doubt that the operator has not admitted."""
        if not doubts or admitted:
            return
        one = len(doubts) == 1
        raise Refusal(
            "bad-input",
            f"{_counted(doubts)}{since} {'is' if one else 'are'} in doubt: {_named(doubts)}. What became of "
            f"{'it' if one else 'them'} is in no state: look at the exchange first, then repeat the command with "
            "--in-doubt (in_doubt: true)",
            in_doubt=[decision.id for decision in doubts],
        )

    def _check(self, confirm: str) -> None:
        name = self._bot.bus.bot
        if confirm != name:
            raise Refusal(
                "bad-input",
                f"a change of the state is confirmed with the bot's name: confirm is {json.dumps(confirm)}, "
                f'expected "{name}"',
            )
        self._bot_commands.check_state()


def check_written(journal: JournalSeen | None) -> None:
    """Refuse to go by a journal that lacks the newest frames. Raises `Refusal`."""
    if journal is not None and journal.failing:
        raise Refusal(
            "failed",
            f"the journal cannot be written since {clock(journal.since)}, so the state since then is not in it "
            f"({journal.failing}): nothing was changed; mend that and repeat the command",
        )


def _answer(value: Any) -> dict[str, Any]:
    """What the leader said. `frame` is the last one before the change: restoring it undoes the change."""
    result = msgspec.convert(value, dict[str, Any])
    return {**result, "undo": f"frame:{result.pop('frame', -1)}"}


def _in_doubt(decisions: list[DecisionSince]) -> list[DecisionSince]:
    return [decision for decision in decisions if decision.outcome == IN_DOUBT]


def _counted(doubts: Sequence[InDoubt]) -> str:
    return "1 decision" if len(doubts) == 1 else f"{len(doubts)} decisions"


def _named(doubts: Sequence[InDoubt]) -> str:
    named = ", ".join(f"{decision.id} ({decision.name})" for decision in doubts[:_NAMED])
    return named + (f" and {len(doubts) - _NAMED} more" if doubts[_NAMED:] else "")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
