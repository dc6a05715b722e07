"""The pinned versions that the checkout is tested with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "bin" / "constraints").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pinned(file: Path) -> list[Requirement]:
    text = file.read_text().replace("\\\n", " ")
    return [Requirement(line.split(" --hash")[0]) for line in text.splitlines() if not line.startswith("#")]


def wanted(extra: str) -> set[str]:
    """What an extra asks for, with what the extras that it names ask for, as it is written in pyproject.toml."""
    found: set[str] = set(PROJECT["project"]["dependencies"])
    for text in PROJECT["project"]["optional-dependencies"][extra]:
        one = Requirement(text)
        if one.name == "neverblink":
            for other in one.extras:
                found |= wanted(other)
        else:
            found.add(text)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_package_is_pinned_with_hashes_and_no_host_is_named(file: Path) -> None:
    text = file.read_text()
    assert re.match(r"# download: \d+ MB\n", text)
    assert "://" not in text
    assert "--index" not in text
    packages = text.replace("\\\n", " ").splitlines()[2:]
    assert packages
    for package in packages:
        assert re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", package), package


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("dev", ["dev"]),
        ("test", ["test"]),
        ("bench", ["bench"]),
        ("fuzz", ["fuzz"]),
        ("live", ["demo", "notify", "web"]),
    ],
)
def test_the_pinned_packages_match_pyproject(name: str, extras: list[str]) -> None:
    versions: dict[str, list[str]] = {}
    for item in pinned(ROOT / "bin" / "constraints" / f"{name}.txt"):
        versions.setdefault(canonicalize_name(item.name), []).append(str(item.specifier).removeprefix("=="))
    for text in set[str]().union(*map(wanted, extras)):
        one = Requirement(text)
        found = versions.get(canonicalize_name(one.name), [])
        assert any(one.specifier.contains(version) for version in found), f"{text}: run bin/lock"
