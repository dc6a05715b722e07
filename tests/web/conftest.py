"""What the tests of the web process share: one bot that is alive for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole.live import Live

from .served import Served


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Served]:
    """A bot of the test's own, not started yet."""
    live = Live(tmp_path)
    try:
        yield Served(live)
    finally:
        live.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A bot that is alive, with its web process."""
    live = Live(tmp_path_factory.mktemp("served"))
    try:
        here = Served(live)
        here.up(here.code("v1"))
        yield here
    finally:
        live.close()
