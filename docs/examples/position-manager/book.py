"""The book: the state of the bot, and what the exchange reports."""

from typing import Literal

import msgspec


class Fill(msgspec.Struct, frozen=True, tag="fill"):
    """An executed order. `n` counts the account's fills from 1; prices are in cents."""

    n: int
    position: str
    market: str
    side: Literal["buy", "sell"]
    size: int
    price: int
    at: int
    """Wall clock, ns."""


class Account(msgspec.Struct, frozen=True, tag="account"):
    """The positions that are open at the exchange, after its fill number `n`."""

    n: int
    positions: list[str]


Report = Fill | Account


class Position(msgspec.Struct):
    market: str
    size: int
    entry: int
    best: int
    """The highest price since it was opened."""
    opened: int
    """Wall clock, ns."""


class Unanswered(msgspec.Struct, frozen=True):
    """An order that was sent and whose outcome is not known."""

    decision: str
    reason: str


class Book(msgspec.Struct):
    positions: dict[str, Position] = {}
    unanswered: dict[str, Unanswered] = {}
    """By position."""
    fills: int = 0
    """The number of the last fill that was applied."""
    skipped_fills: int = 0
    """Fills whose numbers never came. It stays 0."""
    closed: int = 0
    profit: int = 0
    """Cents."""
    mismatches: int = 0
    """How often the exchange had other positions than this book, and the book was corrected."""
