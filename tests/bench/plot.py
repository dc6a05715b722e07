"""Pictures of figures, as SVG: a few lines and words, written by hand so that nothing has to be installed for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

import msgspec

__all__ = ["Series", "picture"]

_WIDTH, _HEIGHT = 760, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 190, 40, 50
_FONT = 'font-family="sans-serif" font-size="12"'
_COLOURS = ("#1f5fa8", "#c4501b", "#3a7d34", "#7a4fa0")

Points = Sequence[tuple[float, float]]


class Series(msgspec.Struct, frozen=True):
    """Points of one name, joined by a line or, with `dots`, not."""

    name: str
    points: Points
    dots: bool = False


def picture(title: str, across: str, up: str, series: Sequence[Series], *, log_across: bool = False) -> str:
    """An SVG of `series` over a logarithmic scale upwards; `across` and `up` say what the axes are."""
    points = [point for one in series for point in one.points]
    if not points:
        raise ValueError(f"picture {title!r}: there is nothing to show")
    x = _scale([x for x, _ in points], _LEFT, _WIDTH - _RIGHT, log=log_across)
    y = _scale([max(y, 1e-3) for _, y in points], _HEIGHT - _BOTTOM, _TOP, log=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 24, title, size=15),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, across, anchor="middle"),
        f'<g transform="translate(18 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)">'
        + _text(0, 0, up, anchor="middle")
        + "</g>",
    ]
    for value, at in y.ticks:
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 8, at + 4, _said(value), anchor="end"))
    for value, at in x.ticks:
        parts.append(f'<path d="M{at:.1f} {_HEIGHT - _BOTTOM}v5" stroke="#555"/>')
        parts.append(_text(at, _HEIGHT - _BOTTOM + 18, _said(value), anchor="middle"))
    parts.append(
        f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" stroke="#555" fill="none"/>'
    )
    for number, one in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [(x.at(across), y.at(max(up, 1e-3))) for across, up in one.points]
        if not one.dots:
            path = " ".join(f"{across:.1f},{up:.1f}" for across, up in placed)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        radius = 1.5 if one.dots else 3
        parts += [f'<circle cx="{a:.1f}" cy="{u:.1f}" r="{radius}" fill="{colour}"/>' for a, u in placed]
        parts.append(_text(_WIDTH - _RIGHT + 14, _TOP + 16 + 20 * number, one.name, colour=colour))
    return "\n".join([*parts, "</svg>\n"])


class _Scale(msgspec.Struct, frozen=True):
    low: float
    high: float
    start: float
    end: float
    log: bool

    def at(self, value: float) -> float:
        """Where a value is."""
        if self.log:
            share = (math.log10(value) - math.log10(self.low)) / (
                math.log10(self.high) - math.log10(self.low)
            )
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """What is written along the axis, and where."""
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            values = [10.0**power for power in range(first, last + 1)]
        else:
            step = 10 ** math.floor(math.log10(self.high - self.low))
            values = [step * n for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [(value, self.at(value)) for value in values]


def _scale(values: Sequence[float], start: float, end: float, *, log: bool) -> _Scale:
    low, high = min(values), max(values)
    if log:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        return _Scale(low, high if high > low else low * 10, start, end, log)
    return _Scale(low, high if high > low else low + 1, start, end, log)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222"
) -> str:
    look = f'text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'


def _said(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"
