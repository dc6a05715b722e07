"""Pictures of figures, as SVG: a few lines and words, written by hand so that nothing has to be installed for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal
from xml.sax.saxutils import escape

import msgspec

__all__ = ["Level", "Moment", "Series", "picture"]

_LEFT, _END, _TOP, _FOOT = 100, 650, 52, 362
"""Where the axes begin and end."""
_HEIGHT = 420
_LETTER = 7
"""How wide a letter of the legend is at most, on average."""
_INSET = 44
"""Between the frame and the first point, so that no point and no word lies on an axis."""
_FONT = 'font-family="Helvetica, Arial, sans-serif"'
_COLOURS = ("#1f5fa8", "#c4501b", "#3a7d34", "#7a4fa0")
_GREY = "#666"
_STEPS = (1, 2, 5, 10)
_MANY = 9
"""No more values than so are written along an axis."""

Points = Sequence[tuple[float, float]]


class Series(msgspec.Struct, frozen=True):
    """Points of one name, joined by a line or, with `dots`, not. Their values are written beside them, or not."""

    name: str
    points: Points
    dots: bool = False
    values: Literal["", "above", "below"] = ""


class Moment(msgspec.Struct, frozen=True):
    """A line upwards at `at`, in the colour of series number `of`."""

    at: float
    name: str
    of: int


class Level(msgspec.Struct, frozen=True):
    """A line across at `at`, which nothing can be below."""

    at: float
    name: str


def picture(
    title: str,
    across: str,
    up: str,
    series: Sequence[Series],
    *,
    log_across: bool = False,
    moments: Sequence[Moment] = (),
    levels: Sequence[Level] = (),
    least: float = 1.0,
) -> str:
    """An SVG of `series` over a logarithmic scale upwards; `across` and `up` say what the axes are, with the unit.

    What is smaller than `least` is drawn there: a logarithm has no zero. Raises ValueError when there are no points.
    """
    points = [point for item in series for point in item.points]
    if not points:
        raise ValueError(f"picture {title!r}: there is nothing to show")
    end, foot = _END, _FOOT
    names = [item.name for item in (*series, *moments, *levels)]
    width = end + 16 + 28 + max(map(len, names)) * _LETTER + 10
    x = _scale([x for x, _ in points], _LEFT + _INSET, end - _INSET, log=log_across)
    y = _scale(
        [max(y, least) for y in (*(y for _, y in points), *(level.at for level in levels))],
        foot,
        _TOP,
        log=True,
    )
    size = f'width="{width}" height="{_HEIGHT}" viewBox="0 0 {width} {_HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {_FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 30, title, size=16),
        _text((_LEFT + end) / 2, _HEIGHT - 14, across, anchor="middle", size=13),
        f'<g transform="translate(20 {(_TOP + foot) / 2}) rotate(-90)">'
        + _text(0, 0, up, anchor="middle", size=13)
        + "</g>",
    ]
    for value, at in y.ticks:
        parts.append(_line(_LEFT, at, end, at, "#ddd"))
        parts.append(_text(_LEFT - 8, at + 4, _said(value), anchor="end"))
    for value, at in x.ticks:
        parts.append(_line(at, foot, at, foot + 5, _GREY))
        parts.append(_text(at, foot + 19, _said(value), anchor="middle"))
    parts.append(f'<path d="M{_LEFT} {_TOP}V{foot}H{end}" stroke="{_GREY}" fill="none"/>')
    parts += [
        _line(x.at(moment.at), _TOP, x.at(moment.at), foot, _colour(moment.of), dashed=True)
        for moment in moments
    ]
    parts += [_line(_LEFT, y.at(level.at), end, y.at(level.at), _GREY, dashed=True) for level in levels]
    for number, one in enumerate(series):
        placed = [(x.at(across), y.at(max(up, least))) for across, up in one.points]
        if not one.dots:
            path = " ".join(f"{across:.1f},{up:.1f}" for across, up in placed)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>'
            )
        radius = 2 if one.dots else 4
        parts += [
            f'<circle cx="{a:.1f}" cy="{u:.1f}" r="{radius}" fill="{_colour(number)}"/>' for a, u in placed
        ]
        if one.values:
            off = -10 if one.values == "above" else 20
            parts += [
                _text(at + 6, height + off, _said(_round(value)), anchor="end", colour=_colour(number))
                for (at, height), (_, value) in zip(placed, one.points, strict=True)
            ]
    parts += _legend(series, moments, levels)
    return "\n".join([*parts, "</svg>\n"])


def _legend(series: Sequence[Series], moments: Sequence[Moment], levels: Sequence[Level]) -> list[str]:
    """What each colour and line is, one below the other, right of the picture."""
    parts: list[str] = []
    left, at = _END + 16, _TOP + 12

    def entry(sign: str, name: str) -> None:
        nonlocal at
        parts.append(sign)
        parts.append(_text(left + 28, at + 4, name))
        at += 22

    for number, one in enumerate(series):
        dot = f'<rect x="{left + 7}" y="{at - 4}" width="8" height="8" rx="4" fill="{_colour(number)}"/>'
        entry(dot if one.dots else dot + _line(left, at, left + 22, at, _colour(number)), one.name)
    for moment in moments:
        entry(_line(left + 11, at - 8, left + 11, at + 8, _colour(moment.of), dashed=True), moment.name)
    for level in levels:
        entry(_line(left, at, left + 22, at, _GREY, dashed=True), level.name)
    return parts


class _Scale(msgspec.Struct, frozen=True):
    low: float
    high: float
    start: float
    end: float
    log: bool

    def at(self, value: float) -> float:
        """Where a value is."""
        if self.log:
            share = math.log10(value / self.low) / math.log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """What is written along the axis, and where."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            values = [10.0**power for power in range(first, last + 1)]
        else:
            rough = (self.high - self.low) / _MANY
            unit = 10.0 ** math.floor(math.log10(rough))
            step = next(unit * n for n in _STEPS if unit * n >= rough)
            values = [step * n for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [(value, self.at(value)) for value in values]


def _scale(values: Sequence[float], start: float, end: float, *, log: bool) -> _Scale:
    low, high = min(values), max(values)
    if log:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        return _Scale(low, high if high > low else low * 10, start, end, log)
    return _Scale(low, high if high > low else low + 1, start, end, log)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{colour}"{dash}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222"
) -> str:
    look = f'text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'


def _round(value: float) -> float:
    """Three digits that matter are enough beside a point."""
    return float(f"{value:.3g}")


def _said(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
