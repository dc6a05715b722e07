"""A git repository of a test's own, untouched by whatever git is configured with on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Repository"]


class Repository:
    """A working tree at `path`, and what a test does with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    @property
    def directory(self) -> Path:
        return self.path / ".git"

    def git(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            ["git", *words],
            cwd=self.path,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_CONFIG_SYSTEM": "/dev/null",
                "GIT_AUTHOR_NAME": "Anna",
                "GIT_AUTHOR_EMAIL": "anna@example.org",
                "GIT_COMMITTER_NAME": "Anna",
                "GIT_COMMITTER_EMAIL": "anna@example.org",
                **(env or {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, **files: str) -> None:
        """Write files; `__` in a name is a directory, and `_` before its ending the dot."""
        for name, text in files.items():
            place = self.path / name.replace("__", "/")
            place = place.with_name(".".join(place.name.rsplit("_", 1)))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def commit(self, subject: str) -> str:
        """Commit all there is; return the commit's id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")
