"""Making a release ready: the check, and when it need not be run."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.supervisor.config.config import Config, load
from neverblink.supervisor.environment.environments import Environments
from neverblink.supervisor.environment.prepare import CheckFailed, Preparer

MINUTE = 60_000_000_000


class RecordedOutput:
    """A voice that keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def line(self, step: str, text: str) -> None:
        pass

    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None:
        self.steps.append(text)


class Bench:
    """A release whose check leaves a line for each time that it ran."""

    def __init__(self, tmp: Path) -> None:
        self.now = 0
        self.ran = tmp / "ran"
        self.code = tmp / "code"
        self.code.mkdir()
        (self.code / "neverblink.toml").write_text(
            f'bot = "bot:Bot"\nenvironment = "none"\n[deploy]\ncheck = "sh -c \'echo ran >> {self.ran}\'"\n'
        )
        self.preparer = Preparer(tmp / "environments", os.environ, now=lambda: self.now)
        (tmp / "environments").mkdir()
        self.output = RecordedOutput()

    def prepare(self, release: str, config: Config | None = None) -> int:
        """Prepare, and return how often the check has run so far."""
        config = config or load(self.code)
        asyncio.run(self.preparer.prepare(release, self.code, config, self.output))
        return self.ran.read_text().count("ran")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_check_that_has_just_passed_is_not_repeated_for_the_deployment_of_its_release(
    bench: Bench,
) -> None:
    assert bench.prepare("r1") == 1
    bench.now += 3_000_000_000
    assert bench.prepare("r1") == 1
    assert bench.output.steps[-1].endswith("not run again, it succeeded in this release 3 s ago")
    # Only once: a later deployment runs the check again.
    assert bench.prepare("r1") == 2


def test_another_release_another_check_or_a_later_time_needs_a_new_check(bench: Bench) -> None:
    assert bench.prepare("r1") == 1
    assert bench.prepare("r2") == 2
    config = load(bench.code)
    other = msgspec.structs.replace(config.deploy, check=f"sh -c 'echo ran ran >> {bench.ran}'")
    assert bench.prepare("r1", msgspec.structs.replace(config, deploy=other)) == 4
    bench.now += 11 * MINUTE
    assert bench.prepare("r2") == 5
    # A directory, unlike a release, may have changed.
    assert (bench.prepare(""), bench.prepare("")) == (6, 7)


def test_a_check_that_failed_is_run_again(bench: Bench) -> None:
    config = load(bench.code)
    fails = msgspec.structs.replace(config.deploy, check=f"sh -c 'echo ran >> {bench.ran}; exit 3'")
    for _ in range(2):
        with pytest.raises(CheckFailed, match="exit 3"):
            bench.prepare("r1", msgspec.structs.replace(config, deploy=fails))
    assert bench.ran.read_text().count("ran") == 2


def test_an_environment_without_its_python_or_a_library_is_incomplete(tmp_path: Path) -> None:
    environments = Environments(tmp_path, {})
    place = tmp_path / "abc"
    library = place / "lib" / "python3.11" / "site-packages" / "prices-1.0.dist-info"
    library.mkdir(parents=True)
    (place / "bin").mkdir()
    python = place / "bin" / "python"
    python.symlink_to(sys.executable)
    stamp = {"version": "3.11.7", "packages": 1, "file": "requirements.txt", "made_at": 1}
    (place / ".neverblink.json").write_bytes(msgspec.json.encode(stamp))
    assert environments.get("abc") is not None
    library.rename(library.with_name("away"))
    assert environments.get("abc") is None
    library.with_name("away").rename(library)
    assert environments.get("abc") is not None
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert environments.get("abc") is None
