"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .live import Live


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A live bot's directory; all processes started in it end with the test."""
    here = Live(tmp_path)
    try:
        yield here
    finally:
        here.close()
