"""The demo's releases: v1 is `bots/sniper`, and each later version is a set of changed files.

A version's directory has only the files that differ from the good version before it, so `bots/v3` shows exactly what v3
changes. `build` merges them into a complete directory, as `neverblink deploy` expects.
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
"""Each version's layers, lowest first. v4 to v7 are bad, so none of them is based on another."""


def build(version: str, directory: Path) -> Path:
    """Write `version` to `directory`, which may exist; return it."""
    for layer in VERSIONS[version]:
        shutil.copytree(
            BOTS / layer, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return directory
