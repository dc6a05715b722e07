"""v3, a new state schema: positions have named fields, and limits are in a module of their own.

The old state is kept: the migrations at the end convert in both directions, so that a rollback after the handoff keeps
the newest state.
"""

from typing import Any, Literal

import msgspec
from limits import Limits

from neverblink.worker import Table, migration

SCHEMA = 2

Direction = Literal["up", "down"]


class Fill(msgspec.Struct, frozen=True):
    """A part of an order that was executed; `fill` is its id."""

    fill: str
    contract: str
    side: Literal["buy", "sell"]
    direction: Direction
    size: int
    price: float


class Position(msgspec.Struct, frozen=True):
    direction: Direction
    size: int


class Book(msgspec.Struct):
    trend: dict[str, float] = {}
    limits: Limits = msgspec.field(default_factory=Limits)
    entered: dict[str, str] = {}
    armed_for: int = 0
    positions: dict[str, Position] = {}
    fills: Table[str, Fill] = msgspec.field(default_factory=Table)
    applied: int = 0
    beats: int = 0

    @property
    def lots(self) -> int:
        return self.limits.lots

    def apply(self, fill: Fill) -> None:
        self.fills[fill.fill] = fill
        self.applied += 1
        held = self.positions.pop(fill.contract, None)
        size = (held.size if held else 0) + (fill.size if fill.side == "buy" else -fill.size)
        if size:
            self.positions[fill.contract] = Position(fill.direction, size)

    def held(self, contract: str) -> tuple[str, int] | None:
        """The position in a contract, such as ("up", 3)."""
        held = self.positions.get(contract)
        return (held.direction, held.size) if held else None


@migration(1, 2)
def name_the_directions(root: dict[str, Any]) -> dict[str, Any]:
    root["limits"] = {"lots": root.pop("lots")}
    root["positions"] = {
        contract: {"direction": "up" if size > 0 else "down", "size": abs(size)}
        for contract, size in root["positions"].items()
    }
    return root


@migration(2, 1)
def sign_the_sizes(root: dict[str, Any]) -> dict[str, Any]:
    root["lots"] = root.pop("limits")["lots"]
    root["positions"] = {
        contract: held["size"] if held["direction"] == "up" else -held["size"]
        for contract, held in root["positions"].items()
    }
    return root
