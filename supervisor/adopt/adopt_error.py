"""The error of a script that cannot be adopted."""

from __future__ import annotations

from pathlib import Path

from ...protocol.errors import NeverblinkError

__all__ = ["AdoptError"]


class AdoptError(NeverblinkError):
    """The script at `path` cannot be adopted; the message says why, and what to do."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
