"""The content of `control.json`: one command, or a list of them, each with an id of its own.

A file is not a message. It may be read many times, it can be rewritten, touched and copied, and it is still
there after a restart. So each *id* is carried out once, however often it is read. A command without an id is refused,
and an id that comes again with another command is an error. Nothing here reads a file: bytes in, commands and errors
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from .commands import BadRequest, Command, decode_command, encode_command, op_of
from .errors import NeverblinkError
from .text import NotText, decode_file
from .wire import UNDECODABLE

__all__ = [
    "LONGEST_ID",
    "MOST_COMMANDS",
    "ControlCommand",
    "ControlError",
    "ControlRequests",
    "RefusedCommand",
    "parse",
]

MOST_COMMANDS = 256
"""How many commands a file may hold: as many as `status.json` has answers for."""
LONGEST_ID = 128


class ControlError(NeverblinkError):
    """A file that cannot be understood."""


class ControlCommand(msgspec.Struct, frozen=True):
    """A command to be carried out once. `digest` is of the command without its formatting."""

    id: str
    command: Command
    digest: str

    @property
    def op(self) -> str:
        return op_of(self.command)


class RefusedCommand(msgspec.Struct, frozen=True):
    """An entry of the file that is not a command, and why; `id` is "" if it has none."""

    id: str
    problem: str


class ControlRequests(msgspec.Struct, frozen=True):
    """The entries of a file, in order."""

    wanted: tuple[ControlCommand, ...] = ()
    refused: tuple[RefusedCommand, ...] = ()


def parse(data: bytes) -> ControlRequests:
    """Return the file's entries. Raises `ControlError` if it is not JSON, or not a command or a list of them.

    An empty file has none.
    """
    wanted: dict[str, ControlCommand] = {}
    refused: list[RefusedCommand] = []
    raws = _parts(data)
    for at, raw in enumerate(raws, 1):
        found = _read(raw, f"command {at} of {len(raws)}" if len(raws) > 1 else "the command")
        if isinstance(found, RefusedCommand):
            refused.append(found)
        elif found.id not in wanted:
            wanted[found.id] = found
        elif wanted[found.id].digest != found.digest:
            refused.append(
                RefusedCommand("", f"id {found.id!r} is given to two commands: only the first is carried out")
            )
    return ControlRequests(tuple(wanted.values()), tuple(refused))


def _parts(data: bytes) -> Sequence[bytes]:
    try:
        text = decode_file(data).strip().encode()
    except NotText as problem:
        raise ControlError(f"it {problem}") from None
    if not text:
        return ()
    try:
        if text[:1] == b"[":
            parts = [bytes(part).strip() for part in msgspec.json.decode(text, type=list[msgspec.Raw])]
        elif text[:1] == b"{":
            msgspec.json.decode(text)
            parts = [text]
        else:
            raise ControlError(
                'it is not a command: expected an object such as {"id": "1", "op": "pause"}, or a list'
            )
    except RecursionError:
        raise ControlError("it is nested too deeply") from None
    except UNDECODABLE as problem:
        raise ControlError(f"it is not JSON: {problem}") from None
    if len(parts) > MOST_COMMANDS:
        raise ControlError(
            f"it holds {len(parts)} commands, at most {MOST_COMMANDS} are read: remove those that are answered"
        )
    return parts


def _read(raw: bytes, which: str) -> ControlCommand | RefusedCommand:
    try:
        command = decode_command(raw)
    except BadRequest as problem:
        id = problem.id if 0 < len(problem.id) <= LONGEST_ID else ""
        return RefusedCommand(id, problem.message if id else f"{which}: {problem.message}")
    if not command.id:
        return RefusedCommand(
            "", f'{which} ({op_of(command)}) has no id: give it one of its own, as in "id": "2026-11-26/1"'
        )
    if len(command.id) > LONGEST_ID:
        return RefusedCommand(
            "", f"{which} ({op_of(command)}) has an id of {len(command.id)} characters: at most {LONGEST_ID}"
        )
    asked = encode_command(msgspec.structs.replace(command, id=""))
    return ControlCommand(command.id, command, blake2b(asked, digest_size=16).hexdigest())
