"""A command that is not carried out: what the operator gets instead of a result."""

from __future__ import annotations

from typing import Any

from ...protocol.commands import Code, Fault
from ...protocol.errors import NeverblinkError

__all__ = ["Refusal"]


class Refusal(NeverblinkError):
    """The command was refused, or has failed; `fault` is the answer."""

    def __init__(self, code: Code, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.fault = Fault(code, message, facts)
