"""A bot that runs alone, with its feeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.protocol.errors import NeverblinkError
from neverblink.worker.feeds.own_feeds import OwnFeeds

from ..standalone_process import StandaloneProcess

BOT = """
import msgspec
from neverblink.worker import Worker


class Book(msgspec.Struct):
    last: int = 0


class Bot(Worker[Book]):
    def on_event(self, event):
        assert event.data == self.state.last + 1
        self.state.last = event.data
        if event.data == 100:
            print("applied 100", flush=True)


if __name__ == "__main__":
    Bot.run()
"""

FEED = """
import os
import time


def trades(feed):
    open("feed.pid", "w").write(str(os.getpid()))
    try:
        for i in range(1, 1_000_000):
            feed.publish(i)
            time.sleep(0.001)
    finally:
        open("closed", "w").close()
"""


def test_a_bot_alone_runs_its_feeds_which_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "neverblink.toml").write_text('bot = "bot:Bot"\n[feeds.trades]\nrun = "source:trades"\n')
    (tmp_path / "source.py").write_text(FEED)
    process = StandaloneProcess(tmp_path, BOT)
    process.wait_for("applied 100")
    assert process.interrupt().status == 0
    assert (tmp_path / "closed").exists()
    assert not Path("/proc", (tmp_path / "feed.pid").read_text()).exists()


@pytest.mark.parametrize("table", ["feeds:trades", {}, {"run": "f:t", "stale_after": "soon"}])
def test_a_table_that_is_not_valid_is_named(table: object) -> None:
    with pytest.raises(NeverblinkError):
        OwnFeeds({"trades": table})
