"""How long the bot's own program takes to start: an interpreter, and what the bot imports."""

from __future__ import annotations

import compileall
import os
import select
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["start"]

_WITHIN = 60.0
_IMPORTS = "import bot, os; os.write(1, b'.')"


def start(place: Path) -> float:
    """Import `place`'s bot.py in a new interpreter; return the ms from its birth to the end of the import.

    Its own end is not in it, and no wait that looks now and then: both would make a deploy look fast beside it. The
    bot is compiled before, as a release is after its first start. Raises RuntimeError when it cannot be imported.
    """
    compileall.compile_dir(place, quiet=2)
    readable, writable = os.pipe()
    try:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", _IMPORTS], cwd=place, stdout=writable)
        os.close(writable)
        try:
            ready, _, _ = select.select([readable], [], [], _WITHIN)
            took = time.monotonic() - began
            if not ready or not os.read(readable, 1):
                raise RuntimeError(f"{place}/bot.py was not imported within {_WITHIN:.0f} s")
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(readable)
    return took * 1000
