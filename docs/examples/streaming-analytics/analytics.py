"""What comes in, what the engine keeps, and what it reports."""

import statistics
from collections.abc import Sequence
from typing import Literal

import msgspec
from neverblink.worker import Cell, Table

from model import Model

WINDOW = 2_000
"""How many quotes the sliding window holds. It must cover the time in which the model is not written, see `Engine`."""


class Quote(msgspec.Struct, frozen=True):
    """Three spot venues (a, b, c) and a future, in basis points from an index. `n` counts the quotes from 1."""

    n: int
    at: int
    """Wall clock, ns."""
    a: float
    b: float
    c: float
    future: float

    @property
    def venues(self) -> dict[str, float]:
        return {"a": self.a, "b": self.b, "c": self.c}


class Finding(msgspec.Struct, frozen=True):
    n: int
    kind: Literal["anomaly", "drift"]
    future: float
    expected: float


class Summary(msgspec.Struct, frozen=True):
    """The future in the newest quotes."""

    quotes: int
    mean: float
    spread: float
    highest: float


class Engine(msgspec.Struct):
    """The state of the bot."""

    quotes: int = 0
    """The number of the last quote that was taken."""
    skipped: int = 0
    """Quotes whose numbers never came. It stays 0."""
    window: Table[int, Quote] = msgspec.field(default_factory=Table)
    """The newest quotes, by number. Only new rows are sent to a follower, and into the journal."""
    model: Cell[Model] = msgspec.field(default_factory=lambda: Cell(Model(), every="5s"))
    """The model. It is written at most every five seconds, and always before another process takes over."""
    unlearned: int = 0
    """Quotes that the model has missed, because the window no longer had them after a crash. It stays 0."""
    findings: Table[int, Finding] = msgspec.field(default_factory=Table)
    summaries: dict[int, Summary] = {}

    def take(self, quote: Quote) -> None:
        self.skipped += quote.n - self.quotes - 1
        self.quotes = quote.n
        self.window[quote.n] = quote
        while len(self.window) > WINDOW:
            del self.window[next(iter(self.window))]

    def report(self, finding: Finding) -> None:
        self.findings[finding.n] = finding
        while len(self.findings) > 1_000:
            del self.findings[next(iter(self.findings))]


def summarise(quotes: Sequence[Quote]) -> Summary:
    futures = [quote.future for quote in quotes]
    return Summary(
        len(futures), statistics.fmean(futures), statistics.pstdev(futures), max(futures, default=0.0)
    )
