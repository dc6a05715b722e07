"""The error of a command that is refused or fails."""

from __future__ import annotations

from typing import Any

from ...protocol.commands import Code, Fault
from ...protocol.errors import NeverblinkError

__all__ = ["Refusal"]


class Refusal(NeverblinkError):
    """The command was refused or failed; `fault` is its answer."""

    def __init__(self, code: Code, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.fault = Fault(code, message, facts)
