"""The commands that the bot itself carries out, between two of its turns.

Pause, resume, halt, settings, and the bot's own. The leader runs them, once, also when a handoff comes in between. What
is known without asking the bot (its settings, its commands) is answered from what it has reported.
"""

from __future__ import annotations

import difflib
import json
from typing import Any, cast

from ...protocol.commands import Commands, Halt, Pause, RebaseClock, Resume, Send, Settings
from ...protocol.link import OWN_COMMANDS, Answered, Offers
from ..bot.bot import LiveBot
from ..bot.command_relay import NoAnswer, NotSendable
from ..system.errors import Refusal

__all__ = ["Asked", "BotCommands", "changes_of"]

Asked = Pause | Resume | RebaseClock | Halt | Settings | Send | Commands


class BotCommands:
    """Runs commands in one bot. Every method raises `Refusal`."""

    def __init__(self, bot: LiveBot) -> None:
        self._bot = bot

    async def carry_out(self, command: Asked, once: str = "") -> dict[str, Any]:
        """Run the command and return its result. A command with the same key `once` runs only once."""
        match command:
            case Pause():
                answered = await self.run("pause", {}, once)
                return {"paused": True, "seq": answered.seq}
            case Resume():
                answered = await self.run("resume", {}, once)
                return {"paused": False, "seq": answered.seq}
            case RebaseClock():
                answered = await self.run("rebase-clock", {}, once)
                return {"seq": answered.seq}
            case Halt():
                return await self._halt(command, once)
            case Settings():
                return await self._settings(command, once)
            case Send():
                return await self._send(command, once)
            case Commands():
                offers = self._offers()
                return {"commands": offers.commands, "listens": offers.listens}

    async def _halt(self, command: Halt, once: str) -> dict[str, Any]:
        name = self._bot.bus.bot
        if command.confirm != name:
            raise Refusal(
                "bad-input",
                f"a halt is confirmed with the bot's name: confirm is {json.dumps(command.confirm)}, "
                f'expected "{name}"',
            )
        self._check_version()
        answered = await self.run("halt", {}, once)
        return {"paused": True, "halted": self._offers().halts, "value": answered.value, "seq": answered.seq}

    async def _settings(self, command: Settings, once: str) -> dict[str, Any]:
        if not (command.set or command.reset):
            offers = self._offers()
            leader = self._bot.state.leading
            now = leader.report.settings if leader is not None and leader.report is not None else None
            if offers.settings is None or now is None:
                return {"values": {}, "chosen": [], "schema": None}
            return {"values": now.values, "chosen": now.chosen, "schema": offers.settings}
        self._check_version()
        answered = await self.run("settings", {"set": command.set, "reset": list(command.reset)}, once)
        return {**answered.value, "seq": answered.seq}

    async def _send(self, command: Send, once: str) -> dict[str, Any]:
        if not command.name.strip():
            raise Refusal("bad-input", "a command needs a name: the op commands lists those of the bot")
        if command.name in OWN_COMMANDS:
            raise Refusal(
                "bad-input",
                f"{command.name} is a command of neverblink's, not of the bot's: "
                f"`neverblink {command.name}`, or the op {command.name}",
            )
        answered = await self.run(command.name, command.args, once)
        return {"value": answered.value, "seq": answered.seq}

    async def run(self, name: str, args: dict[str, Any], once: str) -> Answered:
        """Run a command in a turn of the bot, and return what it answered."""
        self._check_leader()
        try:
            answered = await self._bot.relay.run(name, args, once)
        except NotSendable as problem:
            raise Refusal("bad-input", f"{name} can't be sent to the bot: {problem.message}") from None
        except NoAnswer as problem:
            raise Refusal("boundary" if problem.late else "down", problem.message) from None
        if answered.fault:
            raise Refusal(answered.fault, answered.error)
        if answered.error:
            meant = self._meant(name)
            raise Refusal("failed", f"the bot's {name} failed: {answered.error}{meant}", seq=answered.seq)
        return answered

    def check_state(self) -> None:
        """Refuse where the worker that leads cannot have its state changed."""
        if not self._offers().state:
            raise Refusal(
                "failed",
                "the worker that leads runs a neverblink whose state cannot be changed: deploy the bot with this "
                "version first",
            )

    def _meant(self, name: str) -> str:
        """A hint for an undeclared command, which went to the bot's `on_command`."""
        leader = self._bot.state.leading
        offers = leader.hello.offers if leader is not None and leader.hello is not None else None
        known = [command.name for command in offers.commands] if offers is not None else []
        if name in known or name in OWN_COMMANDS:
            return ""
        near = difflib.get_close_matches(name, known, 1)
        return f" (did you mean its command {near[0]}?)" if near else ""

    def _offers(self) -> Offers:
        """The commands and settings that the leader offers."""
        self._check_leader()
        self._check_version()
        leader = self._bot.state.leading
        if leader is None or leader.hello is None or leader.hello.offers is None:
            raise Refusal("busy", "no worker leads at this moment: ask again")
        return leader.hello.offers

    def _check_version(self) -> None:
        """A worker with an older neverblink would pass an unknown operation to the bot as a command."""
        leader = self._bot.state.leading
        if leader is not None and leader.hello is not None and leader.hello.offers is None:
            raise Refusal(
                "failed",
                f"the worker that leads runs neverblink {leader.hello.neverblink}, which does not know this: deploy "
                "the bot with this version first",
            )

    def _check_leader(self) -> None:
        if self._bot.state.stopping:
            raise Refusal("busy", "the bot is being stopped")
        if self._bot.state.down:
            raise Refusal("down", f"no worker leads to carry it out: {self._bot.state.down}")


def changes_of(result: dict[str, Any]) -> str:
    """The changes of settings in one line: `max_position 2 -> 3, mode "fast" -> "slow"`."""
    changes = cast("dict[str, dict[str, Any]]", result.get("changes", {}))
    return ", ".join(
        f"{name} {json.dumps(change['old'])} -> {json.dumps(change['new'])}"
        for name, change in changes.items()
    )
