"""The demo's releases: v1 is `bots/sniper`, and each later version is what it changes.

A version's directory holds only the files that differ from the good version before it, so reading `bots/v3` is reading
what v3 is about. `build` lays them one over the other into a directory that is complete, as `neverblink deploy` wants.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["BOTS", "VERSIONS", "build"]

BOTS = Path(__file__).parent / "bots"

VERSIONS: Mapping[str, tuple[str, ...]] = {
    "v1": ("sniper",),
    "v2": ("sniper", "v2"),
    "v3": ("sniper", "v2", "v3"),
    "v4": ("sniper", "v2", "v3", "v4"),
    "v5": ("sniper", "v2", "v3", "v5"),
    "v6": ("sniper", "v2", "v3", "v6"),
    "v7": ("sniper", "v2", "v3", "v7"),
}
"""Each version's layers, undermost first. v4 to v7 are bad, so none of them builds on another."""


def build(version: str, directory: Path) -> Path:
    """Make `version` in `directory`, which may be there already; return it."""
    for layer in VERSIONS[version]:
        shutil.copytree(
            BOTS / layer, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return directory
