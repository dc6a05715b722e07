"""The section [feeds] of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.supervisor.config.config import ConfigError, load
from neverblink.supervisor.config.feed_settings import FeedSettings


def write(tmp_path: Path, text: str) -> Path:
    project = tmp_path / "fox"
    project.mkdir()
    (project / "neverblink.toml").write_text('bot = "bot:Fox"\n' + text)
    return project


def test_a_feed_needs_only_its_function(tmp_path: Path) -> None:
    project = write(tmp_path, '[feeds.trades]\nrun = "feeds:trades"\n')
    assert load(project).feeds == (FeedSettings("trades", "feeds:trades", 5_000_000_000, 16 << 20),)


def test_every_key_of_a_feed_can_be_set(tmp_path: Path) -> None:
    text = '[feeds.fills]\nrun = "bots.feeds:fills"\nstale_after = "1m"\nbuffer = "1MiB"\n[feeds.book]\nrun = "f:b"\n'
    feeds = load(write(tmp_path, text + 'stale_after = "never"\n')).feeds
    assert feeds == (
        FeedSettings("fills", "bots.feeds:fills", 60_000_000_000, 1 << 20),
        FeedSettings("book", "f:b", 0),
    )


@pytest.mark.parametrize(
    ("text", "key", "mend"),
    [
        ("[feeds.trades]\n", "feeds.trades.run", 'run = "feeds:trades"'),
        ('[feeds.trades]\nrun = "feeds.py"\n', "feeds.trades.run", "MODULE:FUNCTION"),
        ('[feeds.trades]\nrun = "f:t"\nstale = "5s"\n', "feeds.trades.stale", "stale_after"),
        ('[feeds.trades]\nrun = "f:t"\nstale_after = 5\n', "feeds.trades.stale_after", "5s"),
        ('[feeds.trades]\nrun = "f:t"\nbuffer = "1B"\n', "feeds.trades.buffer", "64KiB"),
        ('[feeds]\ntrades = "feeds:trades"\n', "feeds.trades", "[feeds.trades]"),
        ('[feeds."a b"]\nrun = "f:t"\n', "feeds.a b", "letters"),
        ('feeds = "feeds:trades"\n', "feeds", "table"),
    ],
)
def test_a_mistake_is_named_with_its_mend(tmp_path: Path, text: str, key: str, mend: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert key in caught.value.message
    assert mend in caught.value.message
