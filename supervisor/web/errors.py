"""HTTP errors: a status, a code for programs, and a sentence for people."""

from __future__ import annotations

from typing import Any

import msgspec

from ...protocol.commands import Fault
from ...protocol.errors import NeverblinkError

__all__ = ["STATUS", "ErrorBody", "RequestRefused", "of_fault"]

STATUS: dict[str, int] = {
    "bad-request": 400,
    "bad-input": 422,
    "not-found": 404,
    "busy": 409,
    "locked": 423,
    "aborted": 409,
    "rolled-back": 409,
    "boundary": 409,
    "down": 409,
    "failed": 424,
    # ours
    "no-token": 401,
    "bad-token": 401,
    "role": 403,
    "origin": 403,
    "host": 421,
    "method": 405,
    "too-large": 413,
    "not-json": 415,
    "too-many": 429,
    "unreachable": 503,
    "silent": 504,
}
"""Each code, and the HTTP status that it comes with."""


class ErrorBody(msgspec.Struct, frozen=True):
    """The error in a body."""

    code: str
    message: str
    facts: dict[str, Any] = {}


class RequestRefused(NeverblinkError):
    """A request is not answered."""

    def __init__(self, code: str, message: str, facts: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUS.get(code, 400)
        self.facts = facts or {}

    def body(self) -> bytes:
        return msgspec.json.encode({"error": ErrorBody(self.code, self.message, self.facts)}, enc_hook=repr)


def of_fault(fault: Fault) -> RequestRefused:
    """What the supervisor refused."""
    return RequestRefused(fault.code, fault.message, fault.facts)
