"""Options and fixtures for all tests."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .hypothesis_profile import use_profile

ROOT = Path(__file__).resolve().parent.parent
_SUMMARY = "summary line"

# A shell starts what it runs in the background with these ignored, and the processes of the tests would inherit that.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="renew the expected parts of tests/scenarios/*.txt from what happens now; review the diff",
    )
    parser.addoption(
        "--times",
        type=int,
        default=1,
        help="how often each phase is tried in tests/whole/test_supervisor_killed.py; a thorough run takes 20",
    )


def pytest_configure(config: pytest.Config) -> None:
    use_profile(deep=str(config.getoption("markexpr")) != "not deep")


@pytest.fixture
def times(request: pytest.FixtureRequest) -> int:
    """How often to repeat what an ordinary run tries once."""
    return int(str(request.config.getoption("--times")))


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether to renew the expectations kept in files instead of comparing with them."""
    return bool(request.config.getoption("--rewrite"))


@pytest.fixture
def other_python() -> str:
    """An interpreter of another version that can import neverblink, newest first; `bin/test` makes one if it can."""
    this = f".venv-{sys.version_info.major}.{sys.version_info.minor}"
    found = [
        python
        for python in sorted(ROOT.glob(".venv-3.*/bin/python"), reverse=True)
        if python.parent.parent.name != this
    ]
    if not found:
        pytest.skip("no second Python here: install a 3.12 or 3.13 and run bin/test, which sets it up")
    return str(found[0])


@pytest.fixture
def disk() -> Iterator[Callable[[Path, str], Path]]:
    """Mounts a small separate file system at a directory: `disk(path, "size=256k")`, or "nr_inodes=4"."""
    mounted: list[Path] = []

    def mount(path: Path, options: str) -> Path:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "neverblink-test", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        # Lazily, because a process of the test that is ending may have a file open.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def fill() -> Callable[[Path], Path]:
    """Fills the file system of a directory; returns the file that fills it, for the test to remove."""

    def fill(directory: Path) -> Path:
        filler = directory / "filler"
        with filler.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        return filler

    return fill


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Prints a line with a measurement or count below the results, also when tests run in parallel."""
    return lambda line: record_property(_SUMMARY, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = [
        str(value)
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == _SUMMARY
    ]
    if lines:
        terminalreporter.section("what was counted and measured")
        for line in lines:
            terminalreporter.line(line)
