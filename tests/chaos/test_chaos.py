"""A short run of the chaos: a few seeds whose plans have something of everything. `bin/chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from .episode import play
from .plan import plan

SEEDS = (14, 24, 34)
"""Leader and supervisor killed, a torn journal, a full disk, an unplugged socket; with a standby and without."""


@pytest.mark.parametrize("seed", SEEDS)
def test_an_episode_violates_nothing(seed: int, tmp_path: Path) -> None:
    found = play(plan(seed), tmp_path)
    assert found.violations == []
    assert found.struck
