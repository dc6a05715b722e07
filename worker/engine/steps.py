"""A step: something that the bot's own code has to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .turns import Turn

__all__ = ["TurnStep"]


class TurnStep(msgspec.Struct):
    """A turn, or a hook between turns (`turn` is None). Call it, and await what it returns."""

    name: str
    call: Callable[[], Any]
    turn: Turn | None = None
