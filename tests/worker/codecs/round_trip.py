"""A state through a leader, a follower, and a successor that reads it anew: what the tests of codecs compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from neverblink.worker import Codec
from neverblink.worker.model.cells import Cells

__all__ = ["round_trip", "state_with"]


def state_with(hint: Any, default: Any) -> Any:
    """A state whose one field `value` is of this type, with a factory of its default."""
    return msgspec.defstruct("Book", [("value", hint, msgspec.field(default_factory=default))])


def round_trip(hint: Any, value: Any, codecs: Sequence[Codec[Any]] = (), default: Any = None) -> Any:
    """`value` in a field of type `hint`, as another process has it.

    It goes there as part of a whole state and as a change, and from there to a third process; each must encode it to
    the same bytes.
    """
    book = state_with(hint, default or (lambda: value))
    leader, follower, successor = (Cells(book, codecs=codecs) for _ in range(3))
    state = leader.fresh()
    twin = follower.load(leader.root(state))
    state.value = value
    leader.forget()
    follower.apply(twin, leader.collect(state))
    last = successor.load(follower.root(twin))
    assert leader.root(state) == follower.root(twin) == successor.root(last)
    return last.value
