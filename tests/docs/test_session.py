"""The recorded session in the README."""

from __future__ import annotations

import html
import re
import socket
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = (ROOT / "docs" / "session.svg").read_text(encoding="utf-8")
TEXT = html.unescape(" ".join(re.findall(r"<text[^>]*>(.*?)</text>", PICTURE))).replace(
    "\N{NO-BREAK SPACE}", " "
)


def test_the_readme_shows_the_recorded_session() -> None:
    assert "(docs/session.svg)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_session_shows_a_handoff_a_rollback_and_the_audit() -> None:
    for words in ("blackout", "0 ticks missed", "rolled back", "leads again", "none missed, none doubled"):
        assert words in TEXT


def test_the_session_loads_nothing_and_contains_neither_paths_nor_the_host() -> None:
    assert set(re.findall(r"https?://[^\"' ]+", PICTURE)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"/(?:tmp|home|root|work)/", TEXT)
    assert not re.search(rf"@{re.escape(socket.gethostname())}\b", TEXT)
