"""The book: the whole state of the bot. It goes from process to process at each handoff."""

from typing import Literal

import msgspec

from neverblink.worker import Table

SCHEMA = 1


class Fill(msgspec.Struct, frozen=True):
    """A part of an order that was executed; `fill` is its id."""

    fill: str
    contract: str
    side: Literal["buy", "sell"]
    direction: Literal["up", "down"]
    size: int
    price: float


class Book(msgspec.Struct):
    trend: dict[str, float] = {}
    """Each market's average price."""
    lots: int = 3
    """The size of each purchase."""
    entered: dict[str, str] = {}
    """The last contract bought in each market and timeframe, so that none is bought twice."""
    armed_for: int = 0
    """The window for which the entry timers are armed."""
    positions: dict[str, int] = {}
    """The size held of each contract; negative means down."""
    fills: Table[str, Fill] = msgspec.field(default_factory=Table)
    """All fills. They grow in number, so this is a Table: only new rows are sent to a follower."""
    applied: int = 0
    beats: int = 0

    def apply(self, fill: Fill) -> None:
        self.fills[fill.fill] = fill
        self.applied += 1
        adds = (fill.side == "buy") == (fill.direction == "up")
        held = self.positions.pop(fill.contract, 0) + (fill.size if adds else -fill.size)
        if held:
            self.positions[fill.contract] = held

    def held(self, contract: str) -> tuple[str, int] | None:
        """The position in a contract, such as ("up", 3)."""
        held = self.positions.get(contract, 0)
        return ("up" if held > 0 else "down", abs(held)) if held else None
