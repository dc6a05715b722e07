"""Records docs/session.svg, the terminal session in the README: `bin/record-session`.

Starts the starter bot, deploys a good change of it and one that raises, and asks for the proof. Commands and output are
those of the run; nothing is added but the prompts and what the edits were.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "session.svg"
COMMAND = (sys.executable, "-m", "neverblink.supervisor.cli")
WIDTH = 124
PATIENCE = 120.0

# Rich's own format loads a font from another host; a picture in a README must not.
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
    font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Session:
    """Runs commands in a project and keeps what they print, in colour."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)

    def note(self, text: str) -> None:
        self._console.print(Text(f"# {text}", style="dim"))

    def run(self, *words: str, exits: int, head: int | None = None) -> None:
        """Run `neverblink WORDS` and show all of its output, or the first `head` lines.

        Raises `RuntimeError` when it ends with another exit code than `exits`.
        """
        typed = " ".join(f'"{word}"' if " " in word else word for word in words)
        shown = f"neverblink {typed}" + (f" | head -{head}" if head else "")
        self._console.print(Text.assemble(("$ ", "bold green"), (shown, "bold")))
        done = ask(self._project, *words)
        if done.returncode != exits:
            raise RuntimeError(
                f"{typed}: exit {done.returncode}, expected {exits}\n{done.stdout}{done.stderr}"
            )
        lines = done.stdout.rstrip().splitlines()[:head]
        self._console.print(Text.from_ansi("\n".join(line.rstrip() for line in lines)))
        self._console.print()

    def svg(self) -> str:
        svg = self._console.export_svg(title="neverblink", code_format=FORMAT, unique_id="session")
        return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def ask(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    coloured = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    return subprocess.run(
        [*COMMAND, *words],
        cwd=project,
        env=coloured,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def record(project: Path) -> str:
    """The session as SVG, of a bot that already ticks in `project`."""
    bot = project / "bot.py"
    code = bot.read_text()
    session = Session(project)
    session.note("a live bot, and a change of its code")
    bot.write_text(code.replace('after="20s"', 'after="10s"'))
    session.run("deploy", ".", "-m", "earlier exits", exits=0)
    session.note("a change that raises in its first tick")
    bot.write_text(code.replace("book = self.state\n", "book = self.stat\n", 1))
    session.run("deploy", ".", "-m", "oops", exits=4)
    session.run("audit", exits=0, head=7)
    return session.svg()


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "foresight"
        ask(Path(scratch), "init", str(project))
        with (Path(scratch) / "up.log").open("w") as log:
            up = subprocess.Popen([*COMMAND, "up"], cwd=project, stdout=log, stderr=log)
        try:
            until = time.monotonic() + PATIENCE
            while '"leading"' not in ask(project, "status", "--json").stdout:
                assert time.monotonic() < until, (Path(scratch) / "up.log").read_text()
                time.sleep(0.1)
            picture = record(project)
            ask(project, "down")
        finally:
            up.terminate()
            up.wait()
    assert scratch not in picture, "the picture names a path of this machine"
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
