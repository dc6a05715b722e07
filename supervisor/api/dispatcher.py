"""Dispatches commands: the one place where they are carried out, whichever way they came.

Every surface hands its command to `carry_out` and passes the answer on. Each command that changes something is
published as an event, with who asked, why, and the outcome.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import msgspec

from ...protocol.commands import (
    READS,
    Abort,
    Acknowledge,
    Answer,
    Command,
    Commands,
    CompareStates,
    Deploy,
    Down,
    Fault,
    Halt,
    History,
    ImportState,
    Lock,
    Pause,
    RebaseClock,
    Releases,
    RestartFeed,
    RestoreState,
    Resume,
    Rollback,
    Send,
    SetState,
    Settings,
    ShowState,
    Status,
    Unlock,
    op_of,
)
from ...protocol.errors import NeverblinkError
from ...protocol.events import Commanded
from ...protocol.status import Locked
from ..bot.bot import LiveBot
from ..deploy.branch_watch import BranchWatch
from ..deploy.deployments import Deployments
from ..deploy.shutdown import Shutdown
from ..feeds.feeds import BotFeeds
from ..store.history_db import NoSuchDeployment
from ..store.state_dir import Home
from ..system.errors import Refusal
from .bot_commands import BotCommands, changes_of
from .state_commands import StateCommands
from .status import StatusReader

__all__ = ["Dispatcher"]

_MOST_ROWS = 10_000
_LONGEST_DETAIL = 200
_MOST_FACTS = 4096
"""Arguments with more bytes than these are not kept in the history."""


class Dispatcher:
    """Carries out commands for one bot."""

    def __init__(
        self,
        bot: LiveBot,
        deployments: Deployments,
        branch_watch: BranchWatch,
        status_reader: StatusReader,
        shutdown: Shutdown,
        feeds: BotFeeds,
        home: Home,
    ) -> None:
        self._bot = bot
        self._deployments = deployments
        self._history_thread = deployments.history_thread
        self._deploy_lock = deployments.deploy_lock
        self._branch_watch = branch_watch
        self._status_reader = status_reader
        self._shutdown = shutdown
        self._feeds = feeds
        self._bot_commands = BotCommands(bot)
        self._state_commands = StateCommands(bot, home, self._bot_commands)

    async def carry_out(self, command: Command, once: str = "") -> Answer:
        """Carry out a command and return the answer. Never raises.

        `once` is a key of the caller's: what is for the bot to do runs once under it, also when an earlier supervisor
        was asked for it before.
        """
        try:
            result = await self._do(command, once)
            # Here, where it can still be replaced: a bot's answer may hold values that JSON has no form for.
            plain = msgspec.to_builtins(result, str_keys=True, enc_hook=repr)
            answer = Answer(command.id, "ok", seq=self._seq(command, plain), result=plain)
        except Refusal as refusal:
            answer = Answer(command.id, "error", error=refusal.fault)
        except NeverblinkError as problem:
            answer = Answer(command.id, "error", error=Fault("failed", problem.message))
        except Exception as bug:
            self._bot.bus.trouble(f"{type(command).__name__} failed: {bug!r}")
            fault = Fault("failed", f"the supervisor failed at this ({bug!r}); the bot runs on")
            answer = Answer(command.id, "error", error=fault)
        self._note(command, answer)
        return answer

    async def _do(self, command: Command, once: str) -> Any:
        match command:
            case Status():
                return self._status_reader.read()
            case Deploy():
                with self._branch_watch.requested(command):
                    return await self._deployments.deploy(command)
            case Rollback():
                return await self._deployments.rollback(command)
            case Abort():
                return self._deployments.abort(command)
            case Pause() | Resume() | RebaseClock() | Halt() | Settings() | Send() | Commands():
                return await self._bot_commands.carry_out(command, once)
            case ShowState() | CompareStates() | RestoreState() | ImportState() | SetState():
                return await self._state_commands.carry_out(command, once)
            case Lock():
                return await self._lock(command)
            case Unlock():
                return await self._unlock()
            case Acknowledge():
                return self._acknowledge(command)
            case Releases():
                return await self._releases()
            case History():
                return await self._history(command)
            case RestartFeed(feed=feed):
                return await self._restart_feed(feed)
            case Down():
                return await self._stop(command)

    async def _lock(self, command: Lock) -> Locked:
        there = self._deploy_lock.lock
        if not command.why.strip():
            raise Refusal("bad-input", "a lock needs a reason: each refused deployment shows it")
        if there is not None:
            raise Refusal(
                "locked", f"locked already, by {there.who or 'unknown'}: {there.why}", **_facts(there)
            )
        lock = Locked(command.who, command.why, self._bot.bus.now())
        await self._deploy_lock.put_on(lock)
        return lock

    async def _unlock(self) -> dict[str, Any]:
        there = self._deploy_lock.lock
        await self._deploy_lock.take_off()
        return {"was": there}

    def _acknowledge(self, command: Acknowledge) -> dict[str, Any]:
        return {"acknowledged": self._bot.outages.acknowledge(command.outage, command.who, command.why)}

    async def _releases(self) -> dict[str, Any]:
        found = await asyncio.to_thread(self._deployments.releases.list)
        current = self._deployments.releases.current()
        rows = [{**_facts(release), "current": release.id == current} for release in found]
        return {"releases": rows, "current": current, "previous": self._deployments.releases.previous()}

    async def _history(self, command: History) -> Any:
        if command.deployment:
            try:
                return await self._history_thread.ask(lambda history: history.deployment(command.deployment))
            except NoSuchDeployment as problem:
                raise Refusal("not-found", problem.message) from None
        if not 1 <= command.limit <= _MOST_ROWS:
            raise Refusal("bad-input", f"limit {command.limit}: expected 1 to {_MOST_ROWS}")
        if command.commands:
            rows = await self._history_thread.ask(lambda history: history.commands(command.limit))
            return {"commands": rows}
        deployments, outages, standbys = await self._history_thread.ask(
            lambda history: (
                history.deployments(command.limit),
                history.outages(command.limit),
                history.standbys(command.limit),
            )
        )
        return {"deployments": deployments, "outages": outages, "standbys": standbys}

    async def _restart_feed(self, feed: str) -> dict[str, Any]:
        report = await self._feeds.restart(feed)
        if report is None:
            raise Refusal("failed", f"feed {feed} was restarted, and has not begun to run: see its log")
        return {
            "feed": feed,
            "release": report.release,
            "pid": report.pid,
            "run": report.run,
            "blackout": report.blackout,
        }

    async def _stop(self, command: Down) -> dict[str, Any]:
        if self._bot.state.starting:
            raise Refusal("busy", "the bot is still being started: end `neverblink up` with Ctrl-C instead")
        by = f" by {command.who}" if command.who else ""
        because = f": {command.why}" if command.why else ""
        if command.leave_workers:
            return {"stopped": False, "left": await self._shutdown.leave(f"asked to leave{by}{because}")}
        problem = await self._shutdown.down(f"down{by}{because}")
        if problem:
            raise Refusal("failed", f"the bot has stopped, and failed at it: {problem}")
        return {"stopped": True}

    def _seq(self, command: Command, result: Any) -> int | None:
        """The tick at which a command took effect: as the bot answered, else the last known one."""
        if _reads(command):
            return None
        seq: object = _object(result).get("seq")
        if isinstance(seq, int):
            return seq
        leader = self._bot.state.leading
        return leader.report.seq if leader is not None and leader.report is not None else None

    def _note(self, command: Command, answer: Answer) -> None:
        if _reads(command):
            return
        fault = answer.error
        result = _object(answer.result)
        self._bot.bus.tell(
            Commanded(
                op=op_of(command),
                who=command.who,
                why=command.why,
                outcome=fault.code if fault is not None else "ok",
                detail=fault.message if fault is not None else _detail(command, result),
                seq=fault.facts.get("seq") if fault is not None else answer.seq,
                facts=_kept(command, result),
            )
        )


def _object(result: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", result) if isinstance(result, dict) else {}


def _reads(command: Command) -> bool:
    match command:
        case Settings():
            return not (command.set or command.reset)
        case RestoreState():
            return command.dry_run
        case _:
            return isinstance(command, READS)


def _kept(command: Command, result: dict[str, Any]) -> dict[str, Any]:
    """What the history keeps of a command, beside the line that says it."""
    facts: dict[str, Any]
    match command:
        case Settings():
            facts = {"changes": result.get("changes", {}), "set": command.set, "reset": list(command.reset)}
        case Send():
            facts = {"name": command.name, "args": command.args}
        case RestoreState():
            kept = ("point", "total", "decisions", "in_doubt", "undo")
            facts = {"at": command.at, **{name: result[name] for name in kept if name in result}}
        case SetState():
            facts = {"path": command.path, **{name: result.get(name) for name in ("old", "new", "undo")}}
        case ImportState():
            facts = {"path": command.path, "undo": result.get("undo")}
        case _:
            return {}
    try:
        plain = cast("dict[str, Any]", msgspec.to_builtins(facts, str_keys=True, enc_hook=repr))
        large = len(msgspec.json.encode(plain)) > _MOST_FACTS
    except (TypeError, ValueError, OverflowError, RecursionError):
        return {}
    return {"left_out": f"more than {_MOST_FACTS} bytes"} if large else plain


def _detail(command: Command, result: dict[str, Any]) -> str:
    match command:
        case Send():
            return command.name
        case Settings():
            return changes_of(result)
        case RestoreState():
            point = _object(result.get("point"))
            return f"{command.at}, tick {point['seq']}" if point.get("seq") is not None else command.at
        case ImportState():
            return command.path
        case SetState():
            return f"{command.path} {json.dumps(result.get('old'))} -> {json.dumps(command.value)}"[
                :_LONGEST_DETAIL
            ]
        case Deploy():
            return command.path or command.ref or command.commit or command.release
        case Rollback():
            return command.release
        case Acknowledge():
            return f"outage {command.outage}" if command.outage else ""
        case _:
            return ""


def _facts(what: msgspec.Struct) -> dict[str, Any]:
    return msgspec.to_builtins(what, enc_hook=str)
