"""Draws which room imports which, from the imports in the code.

An arrow that follows from two others is left out: where `cli` imports `api` and `api` imports `deploy`, the arrow from
`cli` to `deploy` is not drawn. What each room imports in full is the table in tests/test_rooms.py.
"""

from __future__ import annotations

from ..test_rooms import ROOMS, arrows

__all__ = ["draw", "necessary"]


def necessary(found: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The arrows without those that follow from others, from the highest room down."""
    below: dict[str, set[str]] = {room: {there for here, there in found if here == room} for room in ROOMS}
    reached: dict[str, set[str]] = {}
    for room in ROOMS:  # from the ground up, so what is below is known
        reached[room] = below[room].union(*(reached[there] for there in below[room]))
    order = list(ROOMS)
    kept = [
        (room, there)
        for room in ROOMS
        for there in below[room]
        if not any(there in reached[other] for other in below[room] - {there})
    ]
    return sorted(kept, key=lambda arrow: (-order.index(arrow[0]), -order.index(arrow[1])))


def draw(top: str) -> str:
    """The rooms of `supervisor` or `worker` and what they stand on, as a mermaid flowchart."""
    rooms = [room for room in ROOMS if room.split("/")[0] in (top, "protocol")]
    found = {(here, there) for here, there in arrows() if here in rooms and there in rooms}
    lines = ["```mermaid", "flowchart TD"]
    lines += [f"    {_node(room)}[{room}]" for room in rooms if any(room in arrow for arrow in found)]
    lines += [f"    {_node(here)} --> {_node(there)}" for here, there in necessary(found)]
    return "\n".join([*lines, "```"])


def _node(room: str) -> str:
    return room.replace("/", "_").strip("_") + "_"
