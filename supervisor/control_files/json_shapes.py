"""The contents of `status.json` and `control.json`, as types and as JSON Schemas."""

from __future__ import annotations

from typing import Any, Literal, cast

import msgspec

from ...protocol.commands import Answer, Code, Command, Fault
from ...protocol.control import LONGEST_ID, MOST_COMMANDS
from ...protocol.status import BotStatus

__all__ = ["AnswerSeen", "ControlSeen", "ProblemSeen", "StatusFile", "control_schema", "status_schema"]

VERSION = 1


class AnswerSeen(msgspec.Struct, frozen=True):
    """The answer to a command of `control.json`. `at` is when it was given."""

    id: str
    op: str
    at: int
    status: Literal["ok", "error"]
    seq: int | None = None
    """The tick after which it took effect; None when it changed nothing or was refused."""
    result: Any = None
    error: Fault | None = None
    left_out: int = 0
    """The size of a result that was left out because it is too large, in bytes; else 0."""


class ProblemSeen(msgspec.Struct, frozen=True):
    """A problem in the current `control.json`. `at` is when it was found."""

    at: int
    text: str


class ControlSeen(msgspec.Struct, frozen=True):
    """The state of the requests in `control.json`. `running` are the ids without an answer yet."""

    problems: tuple[ProblemSeen, ...] = ()
    running: tuple[str, ...] = ()
    answers: tuple[AnswerSeen, ...] = ()
    """The most recent ones, oldest first."""


class StatusFile(msgspec.Struct, frozen=True):
    """`status.json`. `at` is when it was written, at least every `pace` (ns) while `alive`."""

    version: int
    at: int
    pace: int
    alive: bool
    """Whether a supervisor is running: False in the last write of an orderly end. After any other end the file stays as
    it was and becomes older than its pace."""
    status: BotStatus
    control: ControlSeen = ControlSeen()


_MOST_RESULT = 64 * 1024


def answer_seen(op: str, at: int, answer: Answer) -> AnswerSeen:
    """An answer in the form that the file has."""
    try:
        size = len(msgspec.json.encode(answer.result))
    except (TypeError, ValueError, OverflowError, RecursionError):
        size = _MOST_RESULT + 1
    fits = size <= _MOST_RESULT
    return AnswerSeen(
        id=answer.id,
        op=op,
        at=at,
        status=answer.status,
        seq=answer.seq,
        result=answer.result if fits else None,
        error=answer.error,
        left_out=0 if fits else size,
    )


def refused_seen(id: str, op: str, at: int, code: Code, message: str) -> AnswerSeen:
    """The answer to a command that is not carried out."""
    return AnswerSeen(id, op, at, "error", error=Fault(code, message))


def status_schema() -> dict[str, Any]:
    """The JSON Schema of `status.json`."""
    return _titled("status.json of neverblink", msgspec.json.schema(StatusFile))


def control_schema() -> dict[str, Any]:
    """The JSON Schema of `control.json`: a command, or a list of them, each with an id."""
    schema = msgspec.json.schema(Command)
    kinds = cast("dict[str, dict[str, Any]]", schema.pop("$defs"))
    for kind in kinds.values():
        properties = cast("dict[str, Any]", kind["properties"])
        properties["id"] = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
        kind["required"] = sorted({*kind.get("required", []), "id"})
    kinds["Command"] = schema
    named = {"$ref": "#/$defs/Command"}
    many = {"type": "array", "items": named, "maxItems": MOST_COMMANDS}
    return _titled("control.json of neverblink", {"anyOf": [named, many], "$defs": kinds})


def _titled(title: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}
