"""The tutorial's own bot runs, and its commands do what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
FIELD = "    trades: int = 0\n"
PATIENCE = 60.0


def written(project: Path) -> Path:
    """The files of the reader's own bot, each under the name that stands before its block."""
    project.mkdir()
    found = re.findall(
        r"`([\w.]+)`:\n\n```(?:toml|python)\n(.*?)^```", _joined(PAGE), re.MULTILINE | re.DOTALL
    )
    assert {name for name, _ in found} == {"market.py", "bot.py", "neverblink.toml", "test_bot.py"}
    for name, text in found:
        (project / name).write_text(text)
    return project


def _joined(page: str) -> str:
    """A sentence may stand between a file's name and its block."""
    return re.sub(r"(`bot\.py`)\. [^`]*:\n\n```python", r"\1:\n\n```python", page)


def neverblink(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "neverblink.supervisor.cli", *words]
    return subprocess.run(command, cwd=project, text=True, capture_output=True, timeout=PATIENCE)


@contextmanager
def up(project: Path) -> Generator[None]:
    command = [sys.executable, "-m", "neverblink.supervisor.cli", "up"]
    with (project / "up.log").open("w") as log:
        process = subprocess.Popen(command, cwd=project, stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE
        while '"leading"' not in neverblink(project, "status", "--json").stdout:
            assert time.monotonic() < until, (project / "up.log").read_text()
        yield
    finally:
        neverblink(project, "down")
        process.wait(PATIENCE)


def test_the_test_of_the_tutorial_bot_passes(tmp_path: Path) -> None:
    project = written(tmp_path / "dip")
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(project),
            "test_bot.py",
        ],
        cwd=project,
        env=environment,
        text=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.deep
def test_the_tutorial_bot_gets_a_new_field_by_a_deployment_after_a_dry_run(tmp_path: Path) -> None:
    project = written(tmp_path / "dip")
    checked = neverblink(project, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with up(project):
        assert f"```python\n{FIELD}```" in PAGE
        bot = project / "bot.py"
        bot.write_text(
            bot.read_text().replace("    profit: float = 0.0\n", "    profit: float = 0.0\n" + FIELD)
        )
        dry = neverblink(project, "deploy", ".", "--dry-run", "--json")
        assert (dry.returncode, json.loads(dry.stdout)["outcome"]) == (0, "rehearsed"), dry.stderr
        real = neverblink(project, "deploy", ".", "-m", "count trades", "--json")
        assert (real.returncode, json.loads(real.stdout)["outcome"]) == (0, "done"), real.stderr


@pytest.mark.deep
def test_the_starter_bot_is_deployed_rolled_back_and_survives_a_mistake(tmp_path: Path) -> None:
    project = tmp_path / "foresight"
    neverblink(tmp_path, "init", str(project))
    bot = project / "bot.py"
    code = bot.read_text()
    with up(project):
        bot.write_text(code.replace('after="20s"', 'after="10s"'))
        assert bot.read_text() != code
        assert neverblink(project, "deploy", ".", "-m", "earlier exits").returncode == 0
        assert neverblink(project, "rollback").returncode == 0
        bot.write_text(code.replace("book = self.state\n", 'raise ValueError("oops")\n', 1))
        failed = neverblink(project, "deploy", ".", "-m", "a mistake")
        assert failed.returncode == 4
        assert "rolled back  on_tick raised ValueError: oops" in failed.stdout
        assert "rolled back  on_tick raised ValueError: oops" in PAGE
        proof = neverblink(project, "audit")
        assert proof.returncode == 0
        assert "none missed" in proof.stdout
