"""What an earlier run left in the home."""

from __future__ import annotations

from pathlib import Path

from neverblink.supervisor.workers.leftovers import journal_left


def test_an_empty_or_torn_journal_has_no_last_frame(tmp_path: Path) -> None:
    assert journal_left(tmp_path) is None
    (tmp_path / "00000001.journal").write_bytes(b"")
    assert journal_left(tmp_path) is None
