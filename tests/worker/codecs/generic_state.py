"""A generic Struct: what is in it is known only where it is used."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import msgspec

__all__ = ["Ring"]

T = TypeVar("T")


class Ring(msgspec.Struct, Generic[T]):
    items: deque[T]
