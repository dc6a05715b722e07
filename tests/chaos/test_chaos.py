"""A short run of the chaos: a few seeds whose plans have something of everything. `bin/chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from .episode import play
from .plan import TARGETS, plan

SEEDS = (3, 4, 16, 18)
"""Leader and new worker killed, stopped, slowed down, without disk, cut off from each other, in five phases."""


@pytest.mark.parametrize("seed", SEEDS)
def test_an_episode_violates_nothing(seed: int, tmp_path: Path) -> None:
    found = play(plan(seed, targets=frozenset(TARGETS) - {"supervisor", "standby"}), tmp_path)
    assert found.violations == []
    assert found.struck
