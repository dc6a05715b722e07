"""What `check` says of a bot with feeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.supervisor.cli.check import finding_of
from neverblink.supervisor.config.config import load

PROJECT = 'bot = "bot:Bot"\n[feeds.trades]\nrun = "feeds:trades"\n'


@pytest.mark.parametrize(("takes", "ok"), [(True, True), (False, None)])
def test_a_bot_with_feeds_and_no_handler_for_events_is_warned_of(
    tmp_path: Path, takes: bool, ok: bool | None
) -> None:
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox" / "neverblink.toml").write_text(PROJECT)
    finding = {"ok": True, "interval": 1_000_000_000, "schema": (1, ""), "takes_events": takes}
    result = finding_of(load(tmp_path / "fox"), finding)
    assert result.ok is ok
    assert ("on_event" in result.detail) is not takes
