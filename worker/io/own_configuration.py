"""A section of the configuration beside a bot that no supervisor has started."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, cast

__all__ = ["own_section"]

_FILES = (("neverblink.toml", ()), ("pyproject.toml", ("tool", "neverblink")))


def own_section(directory: Path, section: str) -> dict[str, Any]:
    """The section of the configuration in `directory`, empty when there is none. What is not valid counts as none."""
    for name, path in _FILES:
        try:
            table: Any = tomllib.loads((directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for key in (*path, section):
            table = cast("dict[str, Any]", table).get(key) if isinstance(table, dict) else None
        if isinstance(table, dict):
            return cast("dict[str, Any]", table)
    return {}
