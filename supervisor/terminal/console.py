"""A rich console in front of which nothing from outside reaches the terminal as a control."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ..system.text import visible_in_place

__all__ = ["SafeConsole"]


class SafeConsole(Console):
    """Shows controls in text as replacement characters. Rich's own controls (moving the cursor, colours) are segments
    and styles apart from the text, and pass."""

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__(file=file, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_in_place(segment.text), segment.style)
