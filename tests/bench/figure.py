"""What a figure of the benchmark is: some rows for people, and its part of the object that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from .spread import Spread

__all__ = ["Figure", "Scale", "merged", "microseconds", "number", "row", "show"]


class Scale(msgspec.Struct, frozen=True):
    """How much to measure."""

    quick: bool
    handoffs: int
    """Handoffs in a row with a small state."""
    handoffs_large: int
    """Handoffs in a row with the large table."""
    rows: int
    """Entries of the large table."""
    seconds: float
    """Seconds, for what is measured over a time."""
    restarts: int
    """Restarts of each kind."""
    deploys: int


class Figure(msgspec.Struct):
    """`rows` are names and cells under `columns`; `data` goes into the object; `marks` are for the pictures."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = []
    data: dict[str, Any] = {}
    notes: list[str] = []
    """What was left out, and why; what a reader of the numbers must know."""
    marks: dict[str, list[tuple[float, float]]] = {}


def row(name: str, found: Spread | None, unit: float = 1.0) -> tuple[str, ...]:
    """A row of a table whose columns are p50, p99 and max; what was measured is divided by `unit`."""
    if found is None:
        return (name, "-", "-", "-")
    return (name, *(number(value / unit) for value in (found.p50, found.p99, found.max)))


def microseconds(found: Spread) -> dict[str, float]:
    """A spread of ns as it stands in the object."""
    return {"p50": found.p50 / 1000, "p99": found.p99 / 1000, "max": found.max / 1000}


def number(value: float) -> str:
    """A number for people: three significant digits, no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def show(figure: Figure) -> str:
    """The figure as a table of plain text."""
    table = [("", *figure.columns), *figure.rows]
    widths = [max(len(cells[at]) for cells in table if at < len(cells)) for at in range(len(table[0]))]
    lines = [figure.title]
    for cells in table:
        first, *others = cells
        text = "".join(f"  {cell:>{width}}" for cell, width in zip(others, widths[1:], strict=False))
        lines.append(f"  {first:<{widths[0]}}{text}".rstrip())
    return "\n".join([*lines, *(f"  ({note})" for note in figure.notes)])


def merged(figures: list[Figure]) -> Mapping[str, Any]:
    """The object of all figures."""
    whole: dict[str, Any] = {}
    for figure in figures:
        for name, value in figure.data.items():
            # Two figures can each fill a part of one key.
            whole[name] = cast("Any", {**whole[name], **value}) if name in whole else value
    return whole
