"""What `init` writes runs as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from neverblink.supervisor.cli.init_template import files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for file, text in files("foresight").items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    return tmp_path


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.deep
def test_the_test_of_the_template_passes(project: Path) -> None:
    ran = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout


def test_the_bot_of_the_template_passes_check(project: Path) -> None:
    ran = python(project, "-m", "neverblink.worker", "--check", "bot:Starter")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["ok"], found["interval"]) == (True, 1_000_000_000)
    assert [window["name"] for window in found["windows"]] == ["minute"]


def test_the_template_passes_ruff(project: Path) -> None:
    rules = ("--isolated", "--no-cache", "--select", "E,F,I,W,UP", "--line-length", "120")
    ran = python(project, "-m", "ruff", "check", *rules, ".")
    if "No module named ruff" in ran.stderr:
        pytest.skip("no ruff here: it comes with the dev extra")
    assert ran.returncode == 0, ran.stdout
