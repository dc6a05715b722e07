"""The pictures of a run, of what its figures left for them.

A figure leaves its points under a name: `late: NAME` are ticks of one bot (s from the command, µs late), `handoff:
NAME` is when that bot changed hands, and the blackout; `size: NAME` is how long no worker could tick (µs) by entries,
and `floor: NAME` a level (µs).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .figure import Figure
from .plot import Level, Moment, Series, picture

__all__ = ["pictures"]

_Marks = dict[str, list[tuple[float, float]]]


def pictures(figures: Sequence[Figure], place: Path) -> list[Path]:
    """Write the pictures for which there are points; return where they are."""
    place.mkdir(parents=True, exist_ok=True)
    marks: _Marks = {}
    for figure in figures:
        for name, points in figure.marks.items():
            marks.setdefault(name, []).extend(points)
    drawn = {"lateness.svg": _lateness(marks), "blackout.svg": _blackout(marks)}
    written: list[Path] = []
    for name, svg in drawn.items():
        if svg:
            written.append(place / name)
            written[-1].write_text(svg, encoding="utf-8")
    return written


def _lateness(marks: _Marks) -> str:
    late = _named(marks, "late: ")
    series = [Series(f"ticks of a bot that {name}", points, dots=True) for name, points in late.items()]
    moments = [
        Moment(at, f"its handoff: a blackout of {blackout:,.0f} µs", number)
        for number, name in enumerate(late)
        for at, blackout in marks.get(f"handoff: {name}", [])
    ]
    if not series:
        return ""
    return picture(
        "How late each tick begins, through a deploy",
        "time since the deploy was asked for, seconds",
        "lateness of the tick, µs (logarithmic)",
        series,
        moments=moments,
    )


def _blackout(marks: _Marks) -> str:
    sizes = _named(marks, "size: ")
    # The longest on top, as its line is, so that the values of one stay clear of the other's.
    series = [
        Series(name, sorted(points), values="above" if name != "neverblink" else "below")
        for name, points in sizes.items()
    ]
    if not series:
        return ""
    return picture(
        "How long no worker can tick while the code is changed, by the size of the state",
        "entries in the state (logarithmic)",
        "median, µs (logarithmic)",
        series,
        log_across=True,
        levels=[Level(at, name) for name, points in _named(marks, "floor: ").items() for _, at in points],
    )


def _named(marks: _Marks, kind: str) -> _Marks:
    return {name.removeprefix(kind): points for name, points in marks.items() if name.startswith(kind)}
