"""docs/architecture.md shows the code as it is; `--rewrite` draws its pictures again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..test_rooms import ROOMS
from .room_picture import draw, necessary

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"


@pytest.mark.parametrize("top", ["supervisor", "worker"])
def test_the_picture_of_the_rooms_matches_the_imports(top: str, rewrite: bool) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(f"<!-- {top} rooms -->\n")
    shown, end, after = rest.partition("<!-- end -->")
    assert begin, f"docs/architecture.md has no line <!-- {top} rooms -->"
    assert end, f"docs/architecture.md has no line <!-- end --> after the rooms of {top}"
    drawn = draw(top) + "\n"
    if rewrite:
        PAGE.write_text(before + begin + drawn + end + after, encoding="utf-8")
    else:
        assert shown == drawn, (
            "the imports have changed: run pytest tests/docs/test_architecture.py --rewrite"
        )


def test_an_arrow_implied_by_two_others_is_not_drawn() -> None:
    arrows = {
        ("supervisor/config", "supervisor/system"),
        ("supervisor/system", "protocol"),
        ("supervisor/config", "protocol"),
    }
    assert necessary(arrows) == sorted(arrows - {("supervisor/config", "protocol")})


def test_every_room_is_in_the_table_with_a_sentence() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| (\S.+\.) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name.removesuffix(".py") for cell, _ in rows for name in re.findall(r"`([^`]+)`", cell)}
    packages = {"worker", "supervisor", "worker/__main__"}
    assert named == set(ROOMS) - packages


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_and_directory_on_the_page_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:protocol|worker|supervisor|tests|docs|bin)/[\w./-]*)`", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
