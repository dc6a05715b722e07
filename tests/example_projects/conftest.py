"""Fixtures of the examples' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..whole.conftest import live
from ..whole.live import Live
from .example import Example

__all__ = ["live", "start_example"]


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
