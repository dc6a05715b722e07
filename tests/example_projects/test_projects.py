"""What every example promises: it is a whole project, its own tests pass, and the wheel carries it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .example import EXAMPLES, copy, own_tests

PROJECTS = sorted(path.parent.name for path in EXAMPLES.glob("*/bot.py"))
NEEDS_RIVER = {"streaming-analytics"}

each = pytest.mark.parametrize("name", PROJECTS)


@each
def test_an_example_has_all_that_a_project_needs(name: str) -> None:
    place = EXAMPLES / name
    for file in ("README.md", "pyproject.toml", "bot.py", "market.py", ".gitignore", "tests"):
        assert (place / file).exists(), file
    config = tomllib.loads((place / "neverblink.toml").read_text(encoding="utf-8"))
    project = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert config["name"] == project["name"] == name
    # The reader gets the version that was tested or a later one.
    assert all(">=" in needed for needed in project["dependencies"]), project["dependencies"]


@each
def test_the_pages_name_every_example(name: str) -> None:
    assert f"]({name})" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in PROJECTS if name not in NEEDS_RIVER])
def test_the_examples_own_tests_and_its_check_pass(name: str, tmp_path: Path) -> None:
    place = copy(name, tmp_path / name, sys.executable)
    own_tests(place)
    bot = tomllib.loads((place / "neverblink.toml").read_text(encoding="utf-8"))["bot"]
    checked = subprocess.run(
        [sys.executable, "-m", "neverblink.worker", "--check", bot],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["ok"]
