"""The scenarios in tests/scenarios say what happens; `pytest --rewrite` renews them, and the review is the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from .scenario import play

SCENARIOS = sorted((Path(__file__).parents[1] / "scenarios").glob("*.txt"))


def test_the_directory_has_scenarios() -> None:
    assert len(SCENARIOS) >= 18


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_matches_its_file(path: Path, rewrite: bool) -> None:
    text = path.read_text(encoding="utf-8")
    played = play(text)
    if rewrite:
        path.write_text(played, encoding="utf-8")
    assert text.startswith("# ")
    if not rewrite:
        assert played == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("deploy\ndance\n", "line 2, 'dance': no such command"),
        ("deploy\ndrop old->new\n", "nothing is on the way there"),
        ("deploy\nkill stranger\n", "no worker 'stranger'"),
        ("deploy\nalarm lease\n", "no worker has armed it"),
        ("deploy\nkill old\ntick\n", "no worker leads"),
    ],
)
def test_an_invalid_command_of_a_scenario_is_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        play(text)
