"""Messages as bytes, decoded strictly and within limits, and the protocol versions of two processes.

Everything from another process is untrusted: it may be garbage, huge, deeply nested or of another version. A
`MessageCodec` decodes bytes to one of its messages or raises `WireError` and nothing else, so a receiver that catches
`WireError` cannot be crashed by a message. Inside the process nothing is validated again.

Old and new worker run on different releases of the user's code, and so possibly of neverblink. Each side sends the
range of protocol versions that it supports; the pair uses the highest version that both support.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from .errors import NeverblinkError
from .text import cleaned

__all__ = [
    "API",
    "MAX_MESSAGE",
    "NOT_ENCODABLE",
    "PROTOCOL",
    "UNDECODABLE",
    "MessageCodec",
    "ProtocolMismatch",
    "VersionRange",
    "WireError",
    "negotiate",
    "reason",
]

MAX_MESSAGE = 64 * 1024 * 1024
"""The largest message between workers, in bytes. A single row or cell must fit."""

NOT_ENCODABLE = (TypeError, ValueError, OverflowError, RecursionError)
"""The exceptions of msgspec for a value that it can't encode."""

UNDECODABLE = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)
"""The exceptions of msgspec for bytes that do not fit the type: ValueError for text that is not UTF-8, TypeError for an
unhashable map key (before msgspec 0.20)."""

M = TypeVar("M")

_TYPES = {
    "array": "a list",
    "bool": "true or false",
    "bytes": "bytes",
    "float": "a number",
    "int": "a whole number",
    "null": "null",
    "object": 'an object such as {"name": 1}',
    "str": "text",
}
_EXPECTED = re.compile(r"^Expected `([^`]+)`, got `([^`]+)`")


def reason(problem: Exception) -> str:
    """Why a value does not fit its type, for people: "expected a list, got text - at `$.markets`".

    `problem` is one of `UNDECODABLE`. Other messages of msgspec are returned unchanged.
    """

    def words(found: re.Match[str]) -> str:
        wanted = " or ".join(_TYPES.get(kind, kind) for kind in found[1].split(" | "))
        return f"expected {wanted}, got {_TYPES.get(found[2], found[2])}"

    return _EXPECTED.sub(words, str(problem))


class WireError(NeverblinkError):
    """The bytes are not a message of the expected kind."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what
        self.problem = problem


class MessageCodec(Generic[M]):
    """Encodes and decodes one family of messages as msgpack.

    `messages` is a union of tagged `msgspec.Struct`s; `what` names the family in errors; `limit` is the largest
    encoded size in bytes that `decode` accepts.
    """

    def __init__(self, messages: Any, what: str, limit: int = MAX_MESSAGE) -> None:
        self._encode: Callable[[M], bytes] = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(messages)
        self._what = what
        self._limit = limit

    def encode(self, message: M) -> bytes:
        """Return the message as bytes. Text that can't be encoded is escaped, because it is for people."""
        try:
            return self._encode(message)
        except UnicodeEncodeError:
            return self._encode(cleaned(message))

    def decode(self, data: bytes | memoryview) -> M:
        """Return the message in `data`; raise `WireError` when it is too large, malformed or of an unknown tag."""
        if len(data) > self._limit:
            raise WireError(self._what, f"{len(data)} bytes, at most {self._limit} are accepted")
        try:
            return self._decoder.decode(data)
        except RecursionError:
            raise WireError(self._what, "nested too deeply") from None
        except UNDECODABLE as problem:
            raise WireError(self._what, str(problem)) from None


class VersionRange(msgspec.Struct, frozen=True, array_like=True):
    """The protocol versions that a process supports, both ends included."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return str(self.newest) if self.oldest == self.newest else f"{self.oldest} to {self.newest}"


PROTOCOL = VersionRange(1, 1)
"""The versions that this release supports between workers and with the supervisor."""


API = 1
"""The version of the operator's requests and answers."""


class ProtocolMismatch(NeverblinkError):
    """Two processes have no protocol version in common."""

    def __init__(self, who: str, theirs: VersionRange, ours: VersionRange) -> None:
        side = "older" if theirs.newest < ours.oldest else "newer"
        super().__init__(
            f"{who} speaks neverblink protocol {theirs}, this side speaks {ours}: "
            f"its neverblink is {side}; install the same release of neverblink on both sides"
        )
        self.who = who
        self.theirs = theirs
        self.ours = ours


def negotiate(who: str, theirs: VersionRange, ours: VersionRange = PROTOCOL) -> int:
    """Return the highest version that both sides support; raise `ProtocolMismatch`, with `who`, when there is none."""
    best = min(theirs.newest, ours.newest)
    if best < max(theirs.oldest, ours.oldest):
        raise ProtocolMismatch(who, theirs, ours)
    return best
