"""What the operators' commands that come up in a turn ask for.

Some are neverblink's own (pause, resume, halt, settings), others the bot's. Declared ones have their arguments
validated here, before any code of the bot's sees them; the rest go to `on_command`. A `Worker` has a turn for each; in
a `join` loop all that wait come with one tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from ...protocol.frame import Item
from ...protocol.wire import UNDECODABLE, WireError
from ..model.commands import CommandRefused, Declared, unknown
from ..model.replica import Replica
from ..model.settings import SettingsChange, SettingsRefused
from .command_answers import RefusedAnswer

__all__ = ["CommandTurns", "CommandableBot", "ReceivedCommand", "decode_command"]


class CommandableBot(Protocol):
    """A bot, as far as an operator's commands reach it."""

    commands: Mapping[str, Declared]
    """Those that it declares, by name."""
    listens: bool
    """It takes commands that it does not declare."""

    def call_command(self, name: str, args: dict[str, Any]) -> Any: ...
    def call_declared(self, name: str, args: dict[str, Any]) -> Any: ...
    def call_halt(self) -> Any: ...
    def call_settings(self, old: Any, new: Any) -> Any: ...


class ReceivedCommand(msgspec.Struct):
    """What a turn's commands ask for. Each of them, by its key, is answered in one of the ways below."""

    call: Callable[[], Any] | None = None
    """The bot's own code, where there is one command; what it returns is the answer."""
    begun: list[tuple[Item, str, dict[str, Any]]] = []
    """Those that run code of the bot's: if the process dies in it, they are not run again."""
    cut: set[str] = set()
    """Those in which a worker died: they are answered, and do not run."""
    refused: dict[str, RefusedAnswer] = {}
    """Those that do not fit."""
    told: dict[str, Any] = {}
    """Those that neverblink answers itself."""
    pause: bool | None = None
    rebase: bool = False
    """The wall clock is to be believed at once."""
    halt: bool = False
    change: SettingsChange | None = None
    """What the settings are from the beginning of the turn on."""
    before: dict[str, Any] = {}
    """What was set of them before."""


class CommandTurns:
    """See the module."""

    def __init__(self, bot: CommandableBot, replica: Replica) -> None:
        self._bot = bot
        self._replica = replica

    def take(self, item: Item, asked: ReceivedCommand) -> tuple[str, dict[str, Any]] | None:
        """Add a command to what is asked; return its name and arguments when it is for the bot's own handler."""
        name, args = decode_command(item)
        if name in _PAUSE:
            asked.pause = _PAUSE[name]
            asked.told[item.key] = None
            return None
        if name == "rebase-clock":
            asked.rebase = True
            asked.told[item.key] = None
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
            case _:
                return self._own(asked, item, name, args)

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
        asked.told[item.key] = change.told
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
