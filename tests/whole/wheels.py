"""A test library in any number of versions, and a bot that prints the version it runs with."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from pathlib import Path

from .bots import bot
from .live import Live

__all__ = ["LIBRARY", "needs", "wheel"]

HANDLERS = """
    def on_lead(self, in_doubt):
        say(f"prices {prices.VERSION}")

    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")
    """
LIBRARY = bot(HANDLERS, first="import prices")
"""Prints the version of the library `prices`, and each tick's index; 100 ticks a second."""


def wheel(directory: Path, version: str) -> None:
    """Write a wheel of the library `prices`."""
    directory.mkdir(exist_ok=True)
    info = f"prices-{version}.dist-info"
    code = f'VERSION = "{version}"\n'
    digest = base64.urlsafe_b64encode(hashlib.sha256(code.encode()).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(directory / f"prices-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("prices.py", code)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: prices\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{info}/RECORD",
            f"prices.py,sha256={digest},{len(code)}\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
        )


def needs(live: Live, place: Path, what: str, **deploy: str) -> None:
    """Make the project require `what`, from the test's wheels alone: `prices` 1.0 and 2.0."""
    for version in ("1.0", "2.0"):
        wheel(live.tmp / "wheels", version)
    (place / "requirements.txt").write_text(f"--no-index\n--find-links {live.tmp / 'wheels'}\n{what}\n")
    config = (place / "neverblink.toml").read_text().partition("[deploy]")[0]
    words = "".join(f"{key} = {json.dumps(value)}\n" for key, value in deploy.items())
    (place / "neverblink.toml").write_text(f"{config}[deploy]\n{words}")
