"""Output for people: lines, and a live line at the bottom.

On a terminal lines have colour and the live line is redrawn in place. Anywhere else (a pipe, a log, NO_COLOR) they are
plain, and a live line is printed once for each thing it says, without the seconds that tick by. With `--json` all of it
goes to stderr, because stdout then carries one JSON object and nothing else.

Everything that is shown is escaped here, because others wrote much of it: a commit's subject, an exchange's error, a
bot's output. Colours are added after that. Until then a style is a mark, one of Unicode's noncharacters, which text
from outside cannot contain (see `system.text.clean`).
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

from ..system.streams import why_lost
from ..system.text import visible

__all__ = ["Screen", "columns", "put"]

_RESET = "\ufdd0"
_STYLES = {
    "bold": ("\ufdd1", "\x1b[1m"),
    "dim": ("\ufdd2", "\x1b[2m"),
    "red": ("\ufdd3", "\x1b[31m"),
    "green": ("\ufdd4", "\x1b[32m"),
    "yellow": ("\ufdd5", "\x1b[33m"),
    "blue": ("\ufdd6", "\x1b[34m"),
    "magenta": ("\ufdd7", "\x1b[35m"),
    "cyan": ("\ufdd8", "\x1b[36m"),
}
_COLOURED = str.maketrans({_RESET: "\x1b[0m", **dict(_STYLES.values())})
_PLAIN = str.maketrans({chr(mark): "" for mark in range(0xFDD0, 0xFDF0)})


class Screen:
    """Writes lines to `out`. `colour` and `lively` depend on the stream and the environment."""

    def __init__(self, out: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        self._out = out
        # Characters that the user's encoding lacks are shown as "?".
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="replace")
        terminal = out.isatty() and environment.get("TERM") != "dumb"
        self.lively = terminal
        forced = environment.get("FORCE_COLOR", "") not in ("", "0")
        self.colour = (terminal or forced) and not environment.get("NO_COLOR")
        self._live = ""
        self._printed = ""

    def line(self, text: str = "") -> bool:
        """Print a line above the live one; return whether it was written."""
        live = self._live
        self._wipe()
        written = put(self._out, f"{self._shown(text)}\n")
        if live:
            self._draw(live)
        return written

    def live(self, text: str, *, gist: str | None = None) -> None:
        """Show `text` as the live line, "" for none. Where lines cannot be redrawn, print `gist` when it changed."""
        if self.lively:
            self._wipe()
            if text:
                self._draw(text)
            return
        shown = text if gist is None else gist
        if shown and shown != self._printed:
            put(self._out, f"{self._shown(shown)}\n")
        self._printed = shown

    def style(self, text: object, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
        """`text` in a colour, where colours are shown. For `line` and `live`, which replace the marks."""
        wanted = (colour, "bold" if bold else None, "dim" if dim else None)
        marks = "".join(_STYLES[name][0] for name in wanted if name)
        return f"{marks}{text}{_RESET}" if self.colour and marks else str(text)

    def good(self, text: object) -> str:
        return self.style(text, "green", bold=True)

    def bad(self, text: object) -> str:
        return self.style(text, "red", bold=True)

    def warn(self, text: object) -> str:
        return self.style(text, "yellow")

    def faint(self, text: object) -> str:
        return self.style(text, dim=True)

    def _shown(self, text: str) -> str:
        return visible(text).translate(_COLOURED if self.colour else _PLAIN)

    def _draw(self, text: str) -> None:
        # A line longer than the terminal would wrap, and could not be erased.
        width = shutil.get_terminal_size().columns - 1
        self._live = text
        plain = visible(text, keep="").translate(_PLAIN)
        fits = len(plain) <= width and "\n" not in text
        put(self._out, self._shown(text) if fits else plain[: max(width - 1, 0)] + "…")

    def _wipe(self) -> None:
        if self._live:
            put(self._out, "\r\x1b[2K")
            self._live = ""


def put(out: TextIO, text: str) -> bool:
    """Write and flush; return False when the output is lost (`| head`, a full disk), which is not an error."""
    out.write(text)
    out.flush()
    return why_lost(out) is None


def columns(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Lines of a table: each cell as wide as the widest of its column, styles not counted; the last one unpadded."""
    shown = [[visible(cell, keep="") for cell in row] for row in rows]
    width = [max(map(_width, column)) for column in zip(*shown, strict=True)] if rows else []
    return [
        "".join(cell + " " * (width[i] - _width(cell) + gap) for i, cell in enumerate(row[:-1])) + row[-1]
        for row in shown
    ]


def _width(cell: str) -> int:
    return len(cell.translate(_PLAIN))
