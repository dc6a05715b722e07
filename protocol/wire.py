"""From messages to bytes and back, strictly and within bounds.

Everything that comes from another process is untrusted: it may be garbage, huge, deeply nested or of another
version. A `MessageCodec` turns bytes into one of the messages it was made for or raises `WireError`; nothing else ever
leaves it, so a receiver that catches `WireError` cannot be killed by what it receives. Inside the process nothing is
validated a second time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from .errors import NeverblinkError
from .text import cleaned

__all__ = ["MAX_MESSAGE", "NOT_ENCODABLE", "UNDECODABLE", "MessageCodec", "WireError", "reason"]

MAX_MESSAGE = 64 * 1024 * 1024
"""The largest message between workers, in bytes. A single row or cell has to fit."""

NOT_ENCODABLE = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgspec raises for a value that it can't encode."""

UNDECODABLE = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)
"""What msgspec raises for bytes that are not of the type: text that is not UTF-8 is a ValueError, a map key that cannot
be hashed a TypeError (in msgspec before 0.20)."""

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
    """Why a value does not fit its type, in words for people: "expected a list, got text - at `$.markets`".

    `problem` is one of `UNDECODABLE`. What is not about two types stays as msgspec words it.
    """

    def words(found: re.Match[str]) -> str:
        wanted = " or ".join(_TYPES.get(kind, kind) for kind in found[1].split(" | "))
        return f"expected {wanted}, got {_TYPES.get(found[2], found[2])}"

    return _EXPECTED.sub(words, str(problem))


class WireError(NeverblinkError):
    """Bytes that are not a message of the expected kind."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what
        self.problem = problem


class MessageCodec(Generic[M]):
    """Encodes and decodes one family of messages as msgpack.

    `messages` is a union of tagged `msgspec.Struct`s; `what` names the family in errors; `limit` is the largest
    encoded size in bytes that `decode` looks at.
    """

    def __init__(self, messages: Any, what: str, limit: int = MAX_MESSAGE) -> None:
        self._encode: Callable[[M], bytes] = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(messages)
        self._what = what
        self._limit = limit

    def encode(self, message: M) -> bytes:
        """Return the message as bytes. Text that can't be encoded is sent with escapes: it is for people."""
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
