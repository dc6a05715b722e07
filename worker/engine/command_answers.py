"""The answers to operators' commands: sent once the command has run in a turn, and again when it is asked for again.

A command may be sent several times under one key, because an answer can be lost and a leader can change. The inbox runs
it once. The answer is kept for a while, in case the command comes again.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...protocol.frame import Item
from ...protocol.link import LINK_LIMIT, Answered, Run, worker_codec
from ...protocol.text import clean
from ..io.output import report_exception
from ..model.encode_errors import NOT_ENCODABLE
from ..model.inbox import command_key
from ..model.replica import Replica
from ..replication.interfaces import WorkerIO

__all__ = ["CommandAnswers", "RefusedAnswer"]

_REMEMBERED = 256


class RefusedAnswer(msgspec.Struct, frozen=True):
    """Why a command is not carried out, as `Answered` says it."""

    problem: str
    fault: Literal["bad-input", "not-found"] = "bad-input"


class CommandAnswers:
    """Answers the supervisor through `io`."""

    def __init__(self, replica: Replica, io: WorkerIO) -> None:
        self._replica = replica
        self._io = io
        self._given: dict[str, Answered] = {}

    def asked(self, run: Run) -> None:
        """Put a command in line, unless it has run already."""
        inbox = self._replica.inbox
        if run.key in self._given:
            self._io.tell(self._given[run.key])
        elif inbox.knows_applied(command_key(run.key)):
            self._say(Answered(run.key, self._seq, None, "it ran, and its answer is lost"))
        else:
            inbox.command(run.key, run.name, run.args)

    def give(self, item: Item, value: Any) -> None:
        """The command in `item` ran, and this is what it returned."""
        key = item.key.removeprefix(command_key(""))
        answered = Answered(key, self._seq, value)
        try:
            size = len(worker_codec.encode(answered))
            problem = f"{size} bytes, at most {LINK_LIMIT} are sent" if size > LINK_LIMIT else ""
        except NOT_ENCODABLE as error:
            problem = str(error)
        if problem:
            answered = Answered(
                key, self._seq, None, f"it ran, and what it returned cannot be sent ({problem})"
            )
        self._say(answered)

    def refuse(self, item: Item, problem: BaseException, said: str) -> None:
        """The command's handler raised: that is the operator's to know, and ends nothing."""
        report_exception(problem)
        self._say(Answered(item.key.removeprefix(command_key("")), self._seq, None, clean(said)))

    def turn_away(self, item: Item, refused: RefusedAnswer) -> None:
        """The command does not fit, and no code of the bot's has seen it."""
        self._say(
            Answered(item.key.removeprefix(command_key("")), self._seq, None, refused.problem, refused.fault)
        )

    def cut_off(self, item: Item) -> None:
        """The worker that ran the command died in its turn: it is not run again."""
        said = (
            "the worker that ran it died before it had ended, so it is not run again: see what it has done, and send "
            "it once more if that is what you want"
        )
        self._say(Answered(item.key.removeprefix(command_key("")), self._seq, None, said))

    @property
    def _seq(self) -> int:
        return self._replica.seq or 0

    def _say(self, answered: Answered) -> None:
        self._given[answered.key] = answered
        while len(self._given) > _REMEMBERED:
            del self._given[next(iter(self._given))]
        self._io.tell(answered)
