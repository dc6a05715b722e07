"""Fixtures of the examples' tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..whole.conftest import live
from ..whole.live import Live
from .example import Example

__all__ = ["live", "river", "start_example"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def river() -> str:
    """An interpreter that has river: the environment is large, and made when it is first needed."""
    make = f'set -eu; root="{ROOT}"; . "$root/bin/environment"; environment frames "$root/.venv-frames"'
    subprocess.run(["sh", "-c", make], check=True, capture_output=True, timeout=280)
    return str(ROOT / ".venv-frames" / "bin" / "python")


@pytest.fixture
def start_example(live: Live) -> Iterator[Callable[..., Example]]:
    """Makes an `Example` and starts its market, which ends with the test."""
    started: list[Example] = []

    def start(name: str, *market: str, **more: Any) -> Example:
        started.append(Example(live, name, *market, **more))
        return started[-1]

    yield start
    for example in started:
        example.close_market()
