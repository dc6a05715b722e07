"""The table of slow tests in docs/development.md names each file that has one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARKED = re.compile(r"pytest\.mark\.deep|^from \.+matrix import cases", re.MULTILINE)


def test_the_table_has_each_file_with_a_deep_test_and_no_other() -> None:
    table = (ROOT / "docs" / "development.md").read_text()
    named = re.findall(r"^\| `(tests/\S+\.py)` \| [^|]+ \| [^|]+ \|$", table, re.MULTILINE)
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if MARKED.search(path.read_text())]
    own = Path(__file__).resolve()
    files = sorted(str(path.relative_to(ROOT)) for path in marked if path != own)
    assert named == files, "bring the table of slow tests in docs/development.md up to date, in order"
