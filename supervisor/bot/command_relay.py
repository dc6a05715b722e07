"""Relays commands to the bot.

A command is sent to the leader, and sent again under the same key until a worker answers. The key makes it run once,
even when the worker that received it first has handed over in between.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from ...protocol import duration
from ...protocol.errors import NeverblinkError
from ...protocol.link import (
    LINK_LIMIT,
    Answered,
    Run,
    supervisor_codec,
)
from ...protocol.text import problem_of
from ...protocol.wire import NOT_ENCODABLE
from ..system.timers import REPEAT_AFTER, TimerSet
from ..workers.worker_pool import WorkerPool
from .bot_state import BotState

__all__ = ["ANSWER_WITHIN", "CommandRelay", "NoAnswer", "NotSendable"]

ANSWER_WITHIN = 60_000_000_000


class NoAnswer(NeverblinkError):
    """The bot did not answer; `late`: it may still do so."""

    def __init__(self, message: str, *, late: bool) -> None:
        super().__init__(message)
        self.late = late


class NotSendable(NeverblinkError):
    """The command can't be encoded. The message names the part and the reason. Nothing was sent."""


class CommandRelay:
    """Runs commands in the bot, for which the leader has `answer_within` ns."""

    def __init__(self, state: BotState, pool: WorkerPool, answer_within: int = ANSWER_WITHIN) -> None:
        self._state = state
        self._pool = pool
        self._within = answer_within
        self._waiting: dict[str, tuple[Run, asyncio.Future[Answered]]] = {}
        self._timers = TimerSet(state.platform.scheduler, {"repeat": REPEAT_AFTER}, lambda _: self.resend())

    async def run(self, name: str, args: dict[str, Any], key: str = "") -> Answered:
        """Run the command in a turn of the bot; return what it answered. Raises `NoAnswer` and `NotSendable`.

        Under a `key` of the caller it runs once, even when another supervisor has sent it before.
        """
        command = Run(key or f"cmd-{secrets.token_hex(8)}", name, args)
        problem = _problem_of(command)
        if problem:
            raise NotSendable(problem)
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._waiting[command.key] = (command, answer)
        timeout = self._state.platform.scheduler.call_later(
            self._within / 1e9, lambda: _fail(answer, name, self._within)
        )
        try:
            self._send_one(command)
            self._timers.arm("repeat")
            return await answer
        finally:
            timeout.cancel()
            del self._waiting[command.key]

    def answered(self, message: Answered) -> None:
        """A worker has run a command."""
        waiting = self._waiting.get(message.key)
        if waiting is not None and not waiting[1].done():
            waiting[1].set_result(message)

    def resend(self) -> None:
        """Send unanswered commands again: another worker leads, or some time has passed."""
        for command, _ in self._waiting.values():
            self._send_one(command)
        if self._waiting:
            self._timers.arm("repeat")

    def give_up(self, reason: str) -> None:
        """Fail all unanswered commands: no answer will come."""
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(NoAnswer(reason, late=False))

    def close(self) -> None:
        self._timers.close()
        self.give_up("the supervisor stops")

    def _send_one(self, command: Run) -> None:
        if self._state.leader:
            self._pool.send(self._state.leader, command)


def _problem_of(command: Run) -> str:
    """Why the command can't be sent, "" when it can. Checked before it is queued."""
    problem = problem_of(command.name, "the command's name") or problem_of(command.args)
    if problem:
        return problem
    try:
        size = len(supervisor_codec.encode(command))
    except NOT_ENCODABLE as error:
        return str(error)
    return f"{size} bytes, at most {LINK_LIMIT} are sent" if size > LINK_LIMIT else ""


def _fail(answer: asyncio.Future[Answered], name: str, within: int) -> None:
    if not answer.done():
        answer.set_exception(
            NoAnswer(
                f"the bot has not answered {name!r} in {duration.show(within)}: it is not sent again. If the bot "
                "received it, it still runs, once, at the next boundary",
                late=True,
            )
        )
