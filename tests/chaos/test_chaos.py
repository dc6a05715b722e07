"""A short chaos run: a few seeds whose plans cover the main faults, and one episode for each kind that hits the whole
bot. `bin/chaos` is the long run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..matrix import cases
from .episode import play
from .machine import lacking
from .plan import Episode, Fault, Kind, Move, plan

SEEDS = (14, 24, 34)
"""Leader and supervisor killed, a torn journal, a full disk, an unplugged socket; with a standby and without."""

TROUBLE: dict[str, tuple[Fault, ...]] = {
    "full": (Fault("full", "home", "probation", 0, 800, "blocks"),),
    "descriptors": (Fault("descriptors", "leader", "preparing", 0, 1500),),
    "crowd": (Fault("descriptors", "supervisor", "probation", 0, 800),),
    "clock forward": (Fault("clock", "all", "rehearsing", 0, 700, "+1h"),),
    "clock back": (Fault("clock", "all", "probation", 0, 700, "-1h"),),
    "sockets": (Fault("sockets", "home", "preparing", 0),),
    "logs-gone": (Fault("logs-gone", "home", "preparing", 0),),
    "power-cut": (Fault("power-cut", "all", "probation", 20, how="journal"),),
}
"""What happens during a deployment of good code."""


@pytest.mark.parametrize("seed", cases(SEEDS, 24))
def test_an_episode_has_no_violations(seed: int, tmp_path: Path) -> None:
    found = play(plan(seed), tmp_path)
    assert found.violations == []
    assert found.faults


@pytest.mark.deep
def test_an_episode_of_a_bot_without_ticks_has_no_violations(tmp_path: Path) -> None:
    found = play(plan(24), tmp_path, event_driven=True)
    assert found.violations == []
    assert found.faults


USUAL = ("full", "power-cut")
"""The other kinds have quicker tests in tests/whole."""


@pytest.mark.deep
def test_a_bot_survives_a_disk_without_an_inode_and_a_torn_release(tmp_path: Path) -> None:
    if "full" in lacking():
        pytest.skip(lacking()["full"])
    faults = (
        Fault("full", "home", "probation", 0, 800, "inodes"),
        Fault("power-cut", "all", "random", 500, how="release"),
    )
    moves = (Move("deploy", "", faults[:1]), Move("idle", "", faults[1:]))
    found = play(Episode(2, True, moves), tmp_path)
    assert found.violations == []
    assert len(found.faults) == len(faults)


@pytest.mark.parametrize("trouble", cases(TROUBLE, *USUAL))
def test_a_bot_survives_faults_that_hit_all_its_processes(trouble: str, tmp_path: Path) -> None:
    faults = TROUBLE[trouble]
    kinds: set[Kind] = {fault.kind for fault in faults}
    for kind in sorted(kinds & lacking().keys()):
        pytest.skip(f"{kind}: {lacking()[kind]}")
    found = play(Episode(1, False, (Move("deploy", "", faults),)), tmp_path)
    assert found.violations == []
    assert len(found.faults) == len(faults)
