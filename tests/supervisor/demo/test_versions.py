"""The demo's releases: each is complete, differs in what it is about, and is configured like the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.supervisor.config.config import load
from neverblink.supervisor.demo.versions import BOTS, VERSIONS, build


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_complete_and_has_a_configuration(version: str, tmp_path: Path) -> None:
    directory = build(version, tmp_path / version)
    files = {path.name for path in directory.iterdir()}
    assert {"bot.py", "book.py", "exchange.py", "strategy.py", "neverblink.toml"} <= files
    config = load(directory)
    assert (config.name, config.bot) == ("sniper", "bot:Sniper")
    for file in directory.glob("*.py"):
        compile(file.read_text(), str(file), "exec")


def test_a_version_contains_only_its_differences(tmp_path: Path) -> None:
    for version, layers in VERSIONS.items():
        below = build_layers(layers[:-1], tmp_path / version)
        for path in (BOTS / layers[-1]).glob("*.*"):
            other = below / path.name
            assert not other.exists() or other.read_bytes() != path.read_bytes(), path


def test_a_directory_can_be_rebuilt_in_place(tmp_path: Path) -> None:
    build("v1", tmp_path)
    before = (tmp_path / "strategy.py").read_text()
    build("v2", tmp_path)
    assert (tmp_path / "strategy.py").read_text() != before


def build_layers(layers: tuple[str, ...], directory: Path) -> Path:
    """The version whose layers these are, or nothing."""
    directory.mkdir()
    for version, its_layers in VERSIONS.items():
        if its_layers == layers:
            build(version, directory)
    return directory
