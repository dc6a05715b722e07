"""Operators' commands: what those in a turn request, and their answers.

Some commands are neverblink's own (pause, resume, halt, settings), others the bot's. The arguments of declared commands
are validated here, before any code of the bot sees them; the rest go to `on_command`. A `Worker` has a turn for each
command; in a `join` loop all that wait come with one tick.

A command may be sent several times under one key, because an answer can be lost and the leader can change. The inbox
runs it once. The answer is kept for a while, in case the command comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.frame import Item
from ...protocol.link import LINK_LIMIT, Answered, Run, worker_codec
from ...protocol.text import clean
from ...protocol.wire import NOT_ENCODABLE, UNDECODABLE, WireError
from ..io.output import report_exception
from ..model.commands import CommandRefused, Declared, unknown
from ..model.inbox import command_key
from ..model.replica import Replica
from ..model.settings import SettingsChange, SettingsRefused
from ..replication.interfaces import WorkerIO
from .state_edits import StateEdit, restore_edit, set_edit

__all__ = [
    "CommandAnswers",
    "CommandTurns",
    "CommandableBot",
    "ReceivedCommand",
    "RefusedAnswer",
    "decode_command",
]

_REMEMBERED = 256
"""How many answers are kept."""


class CommandableBot(Protocol):
    """A bot as the receiver of operators' commands."""

    commands: Mapping[str, Declared]
    """The declared commands, by name."""
    listens: bool
    """Whether it takes commands that it does not declare."""
    derives: Literal["", "on_load", "on_state"]
    """The handler that renews what it builds from its state."""

    def call_command(self, name: str, args: dict[str, Any]) -> Any: ...
    def call_declared(self, name: str, args: dict[str, Any]) -> Any: ...
    def call_halt(self) -> Any: ...
    def call_settings(self, old: Any, new: Any) -> Any: ...
    def call_load(self, state: Any) -> Any: ...
    def call_state(self, changed: frozenset[str]) -> Any: ...


class RefusedAnswer(msgspec.Struct, frozen=True):
    """Why a command is not carried out, for `Answered`."""

    problem: str
    fault: Literal["bad-input", "not-found"] = "bad-input"


class ReceivedCommand(msgspec.Struct):
    """What the commands of a turn request. Each command, by its key, is answered in one of these ways."""

    call: Callable[[], Any] | None = None
    """The bot's code for a single command; its result is the answer."""
    begun: list[tuple[Item, str, dict[str, Any]]] = []
    """Commands that run code of the bot: they are not run again if the process dies in it."""
    cut: set[str] = set()
    """Commands in which an earlier worker died: they are answered and do not run."""
    refused: dict[str, RefusedAnswer] = {}
    """Invalid commands, with the reason."""
    answers: dict[str, Any] = {}
    """The answers of neverblink's own commands."""
    pause: bool | None = None
    rebase: bool = False
    """Accept the wall clock at once."""
    halt: bool = False
    change: SettingsChange | None = None
    """The settings from the beginning of the turn on."""
    before: dict[str, Any] = {}
    """The values set by operators before this turn."""
    edits: list[tuple[str, StateEdit]] = []
    """Changes of the state that the turn begins with, by the key of their command."""
    undo: list[Callable[[], None]] = []
    """How to undo those that were made, the first one first."""

    def carry_out(self) -> None:
        """Make the changes of the state. One that this code cannot read is refused, and changes nothing."""
        for key, edit in self.edits:
            try:
                self.answers[key], undo = edit()
            except NeverblinkError as problem:
                self.refused[key] = RefusedAnswer(problem.message)
            except Exception as problem:
                # A value nested too deeply, or a codec of the bot's: what an operator typed must not end the bot.
                self.refused[key] = RefusedAnswer(
                    f"the state stays as it was: {type(problem).__name__}: {problem}"
                )
            else:
                self.undo.append(undo)

    def take_back(self) -> None:
        """Undo the changes of the state: the bot's code has raised."""
        while self.undo:
            self.undo.pop()()


class CommandTurns:
    """See the module."""

    def __init__(self, bot: CommandableBot, replica: Replica) -> None:
        self._bot = bot
        self._replica = replica

    def take(self, item: Item, asked: ReceivedCommand) -> tuple[str, dict[str, Any]] | None:
        """Add a command to `asked`; return its name and arguments if the bot's own code handles it."""
        name, args = decode_command(item)
        if name in _PAUSE:
            asked.pause = _PAUSE[name]
            asked.answers[item.key] = None
            return None
        if name == "rebase-clock":
            asked.rebase = True
            asked.answers[item.key] = None
            return None
        if name == "halt":
            asked.pause = True
        if item.key in self._replica.open:
            asked.cut.add(item.key)
            return None
        match name:
            case "halt":
                asked.halt = True
                self._begin(asked, item, name, args, self._bot.call_halt)
                return None
            case "settings":
                self._settings(asked, item, args)
                return None
            case "state-restore" | "state-set":
                self._edit(asked, item, name, args)
                return None
            case _:
                return self._own(asked, item, name, args)

    def _edit(self, asked: ReceivedCommand, item: Item, name: str, args: dict[str, Any]) -> None:
        replica = self._replica
        edit = restore_edit(replica, args) if name == "state-restore" else set_edit(replica, args)
        asked.edits.append((item.key, edit))
        self._begin(asked, item, name, args, lambda: self._renew() if item.key in asked.answers else None)

    def _renew(self) -> Any:
        """Have the bot renew what it has built of the state that it had."""
        replica, bot = self._replica, self._bot
        if bot.derives == "on_state":
            return bot.call_state(frozenset(replica.cells.differing(replica.state)))
        return bot.call_load(replica.state)

    def _settings(self, asked: ReceivedCommand, item: Item, args: dict[str, Any]) -> None:
        settings = self._replica.settings
        try:
            change = settings.plan(args, asked.change)
        except SettingsRefused as problem:
            asked.refused[item.key] = RefusedAnswer(problem.message)
            return
        if asked.change is None:
            asked.before = settings.chosen
        asked.change = change
        asked.answers[item.key] = change.answer
        self._begin(asked, item, "settings", args, lambda: self._bot.call_settings(change.old, change.new))

    def _own(
        self, asked: ReceivedCommand, item: Item, name: str, args: dict[str, Any]
    ) -> tuple[str, dict[str, Any]] | None:
        bot = self._bot
        declared = bot.commands.get(name)
        if declared is not None:
            try:
                read = declared.read(args)
            except CommandRefused as problem:
                asked.refused[item.key] = RefusedAnswer(problem.message)
                return None
            self._begin(asked, item, name, args, lambda: bot.call_declared(name, read))
            return name, read
        if not bot.listens:
            asked.refused[item.key] = RefusedAnswer(unknown(name, bot.commands), "not-found")
            return None
        self._begin(asked, item, name, args, lambda: bot.call_command(name, args))
        return name, args

    def _begin(
        self, asked: ReceivedCommand, item: Item, name: str, args: dict[str, Any], call: Callable[[], Any]
    ) -> None:
        asked.begun.append((item, name, args))
        asked.call = call


_PAUSE = {"pause": True, "resume": False}
_command: msgspec.msgpack.Decoder[tuple[str, dict[str, Any]]] = msgspec.msgpack.Decoder(
    tuple[str, dict[str, Any]]
)


def decode_command(item: Item) -> tuple[str, dict[str, Any]]:
    """The name and arguments in a command's item. Raises `WireError`."""
    try:
        return _command.decode(item.data)
    except UNDECODABLE as problem:
        raise WireError(f"command {item.key}", str(problem)) from None


class CommandAnswers:
    """Sends answers to the supervisor through `io`, and remembers them."""

    def __init__(self, replica: Replica, io: WorkerIO) -> None:
        self._replica = replica
        self._io = io
        self._given: dict[str, Answered] = {}

    def receive(self, run: Run) -> None:
        """Put a command into the inbox, or answer it again if it has run."""
        inbox = self._replica.inbox
        if run.key in self._given:
            self._io.tell(self._given[run.key])
        elif inbox.knows_applied(command_key(run.key)):
            self._send(Answered(run.key, self._seq, None, "the command ran, but its answer is lost"))
        else:
            inbox.command(run.key, run.name, run.args)

    def give(self, item: Item, value: Any) -> None:
        """Answer the command in `item`, which ran and returned `value`."""
        key = item.key.removeprefix(command_key(""))
        answered = Answered(key, self._seq, value)
        try:
            size = len(worker_codec.encode(answered))
            problem = f"{size} bytes, at most {LINK_LIMIT} are sent" if size > LINK_LIMIT else ""
        except NOT_ENCODABLE as error:
            problem = str(error)
        if problem:
            answered = Answered(
                key, self._seq, None, f"the command ran, but its result cannot be sent ({problem})"
            )
        self._send(answered)

    def failed(self, item: Item, problem: BaseException, description: str) -> None:
        """Answer a command whose handler raised, and print the traceback."""
        report_exception(problem)
        self._send(Answered(item.key.removeprefix(command_key("")), self._seq, None, clean(description)))

    def refuse(self, item: Item, refused: RefusedAnswer) -> None:
        """Answer an invalid command, which did not run."""
        self._send(
            Answered(item.key.removeprefix(command_key("")), self._seq, None, refused.problem, refused.fault)
        )

    def interrupted(self, item: Item) -> None:
        """Answer a command in whose turn the worker died. It is not run again."""
        problem = (
            "the worker died while it ran this command, so it is not run again: check what it has done, and "
            "send it once more if necessary"
        )
        self._send(Answered(item.key.removeprefix(command_key("")), self._seq, None, problem))

    @property
    def _seq(self) -> int:
        return self._replica.seq or 0

    def _send(self, answered: Answered) -> None:
        self._given[answered.key] = answered
        while len(self._given) > _REMEMBERED:
            del self._given[next(iter(self._given))]
        self._io.tell(answered)
