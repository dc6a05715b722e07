"""The messages of the composed model: the stream between leader and follower without content, and all in words."""

from __future__ import annotations

from typing import Any

import msgspec

from neverblink.protocol import seat_events as s
from neverblink.protocol.handoff import handoff_events as h

__all__ = ["Declined", "Failing", "Final", "Frame", "Took", "show"]


class Frame(msgspec.Struct, frozen=True):
    number: int


class Final(msgspec.Struct, frozen=True):
    order: int
    number: int


class Failing(msgspec.Struct, frozen=True):
    pass


class Took(msgspec.Struct, frozen=True):
    epoch: int
    order: int


class Declined(msgspec.Struct, frozen=True):
    order: int


def show(message: Any) -> str:
    """Return a message as one line of text."""
    match message:
        case h.Seen(role=role, loaded=loaded, epoch=epoch):
            return f"Report({role}{', loaded' if loaded else ''}, epoch {epoch})"
        case h.Withdrawn(order=order):
            return f"Cancelled({order})"
        case h.CannotRead(reason=reason):
            return f"Failed({reason!r})"
        case h.Suspected(leader=leader, reason=reason):
            return f"Suspect({leader}, {reason!r})"
        case Frame():
            return "FrameSent"
        case Final(order=order):
            return f"Final({order})"
        case Took(epoch=epoch, order=order):
            return f"Took(epoch {epoch}, order {order})"
        case s.YieldTo(order=order, to=to, force=force, back=back):
            return f"YieldTo({order}, {to}{', force' if force else ''}{', back' if back else ''})"
        case s.CancelYield(order=order):
            return f"CancelYield({order})"
        case s.Follow(leader=leader, guard=guard):
            return f"Follow({leader}{', as guard' if guard else ''})"
        case Declined(order=order):
            return f"Declined({order})"
        case _:
            return type(message).__name__
