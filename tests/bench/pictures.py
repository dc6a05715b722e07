"""The pictures of a run, of what its figures left for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .figure import Figure
from .plot import Series, picture

__all__ = ["pictures"]


def pictures(figures: Sequence[Figure], place: Path) -> list[Path]:
    """Write the pictures for which there are points; return where they are."""
    place.mkdir(parents=True, exist_ok=True)
    marks: dict[str, list[tuple[float, float]]] = {}
    for figure in figures:
        for name, points in figure.marks.items():
            marks.setdefault(name, []).extend(points)
    late = [
        Series(name.removeprefix("late: "), points, dots=True)
        for name, points in marks.items()
        if name.startswith("late: ")
    ]
    by_size = [Series(name, marks[name]) for name in ("neverblink", "Erlang/OTP") if name in marks]
    written: list[Path] = []
    if late:
        title = "How late ticks begin through a deploy (command at 0)"
        written.append(place / "lateness.svg")
        written[-1].write_text(picture(title, "s", "µs late", late), encoding="utf-8")
    if by_size:
        title = "Nobody can tick, by the size of the state"
        written.append(place / "blackout.svg")
        written[-1].write_text(picture(title, "entries", "µs", by_size, log_across=True), encoding="utf-8")
    return written
