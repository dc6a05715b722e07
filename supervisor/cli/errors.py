"""The mistakes that only a command line can be given."""

from __future__ import annotations

from ...protocol.errors import NeverblinkError

__all__ = ["BadInput"]


class BadInput(NeverblinkError):
    """What was given to the verb cannot be used; the message says why and what to give instead."""
