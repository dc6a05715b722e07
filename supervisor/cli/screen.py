"""What a person sees: lines, and one line at the bottom that is alive.

On a terminal lines have colour and the live line is redrawn in place. Anywhere else (a pipe, a log, NO_COLOR) they are
plain, and a live line is printed once for each thing it says, without the seconds that tick by. With `--json` all of it
goes to stderr, because stdout then carries one JSON object and nothing else.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

import click

__all__ = ["Screen", "columns", "put"]

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """Writes lines to `out`. `colour` and `lively` are found out from the stream and the environment."""

    def __init__(self, out: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        self._out = out
        # What the user's encoding can't say is shown as "?", and is no reason to stop.
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="replace")
        terminal = out.isatty() and environment.get("TERM") != "dumb"
        self.lively = terminal
        forced = environment.get("FORCE_COLOR", "") not in ("", "0")
        self.colour = (terminal or forced) and not environment.get("NO_COLOR")
        self._live = ""
        self._said = ""

    def line(self, text: str = "") -> bool:
        """Print a line above the live one; return whether anybody still reads."""
        live = self._live
        self._wipe()
        heard = put(self._out, f"{text}\n")
        if live:
            self._draw(live)
        return heard

    def live(self, text: str, *, gist: str | None = None) -> None:
        """Show `text` as the live line, "" for none. Where lines can't be redrawn, print `gist` when it is new."""
        if self.lively:
            self._wipe()
            if text:
                self._draw(text)
            return
        said = text if gist is None else gist
        if said and said != self._said:
            put(self._out, f"{said}\n")
        self._said = said

    def style(self, text: object, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
        """`text` in a colour where colours are shown, else as it is."""
        if not self.colour:
            return str(text)
        return click.style(str(text), fg=colour, bold=bold or None, dim=dim or None)

    def good(self, text: object) -> str:
        return self.style(text, "green", bold=True)

    def bad(self, text: object) -> str:
        return self.style(text, "red", bold=True)

    def warn(self, text: object) -> str:
        return self.style(text, "yellow")

    def faint(self, text: object) -> str:
        return self.style(text, dim=True)

    def _draw(self, text: str) -> None:
        # A line longer than the terminal would wrap, and then it could not be wiped.
        width = shutil.get_terminal_size().columns - 1
        self._live = text
        shown = (
            text if len(_STYLE.sub("", text)) <= width else _STYLE.sub("", text)[: max(width - 1, 0)] + "…"
        )
        put(self._out, shown)

    def _wipe(self) -> None:
        if self._live:
            put(self._out, "\r\x1b[2K")
            self._live = ""


def put(out: TextIO, text: str) -> bool:
    """Write and flush; return False when the reader has gone (`| head`), which is no reason to stop what we do."""
    try:
        out.write(text)
        out.flush()
    except BrokenPipeError:
        # From here on to nowhere, or the interpreter would complain at its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return False
    return True


def columns(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Lines of a table: each cell as wide as the widest of its column, styles not counted; the last one unpadded."""
    width = [max(map(_width, column)) for column in zip(*rows, strict=True)] if rows else []
    return [
        "".join(cell + " " * (width[i] - _width(cell) + gap) for i, cell in enumerate(row[:-1])) + row[-1]
        for row in rows
    ]


def _width(cell: str) -> int:
    return len(_STYLE.sub("", cell))
