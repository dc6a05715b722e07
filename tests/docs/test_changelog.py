"""The changelog says each thing once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

CHANGELOG = (Path(__file__).resolve().parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_entry_and_no_heading_of_a_version_is_repeated() -> None:
    for version in CHANGELOG.split("\n## ")[1:]:
        begun = re.findall(r"^(?:- .{1,40}|### .*)", version, re.MULTILINE)
        assert [one for one, times in Counter(begun).items() if times > 1] == [], version.splitlines()[0]
