"""A bot that overruns every tick: what it skips is its own, in the deployment's answer, the audit and the history."""

from __future__ import annotations

import re

import pytest

from .live import Live

_BOT = """
import time
import msgspec
from neverblink.worker import Worker

class Book(msgspec.Struct):
    ticks: int = 0

class Bot(Worker[Book]):
    tick = "50ms"

    def on_tick(self, tick):
        self.state.ticks += 1
        time.sleep(0.12)

    def on_command(self, name, args):
        return msgspec.to_builtins(self.state)
"""


@pytest.mark.deep
def test_ticks_that_the_bot_overran_around_a_handoff_are_never_called_missed(live: Live) -> None:
    live.up(live.code("v0", _BOT))
    done = live.deploy(live.code("v1", f"{_BOT}# 1\n"))
    assert (done["outcome"], done["missed"]) == ("done", 0), done
    history = live.run("history", "--json")
    assert [row["missed"] for row in history.json["deployments"] if row["outcome"] == "done"] == [0]
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert len(report["handoffs"]) == 1
    causes = {gap["cause"] for gap in report["skipped"]}
    assert any(re.fullmatch(r"tick \d+ took 1\d\dms", cause) for cause in causes), causes
    # A busy machine may wake a process late.
    own = r"tick \d+ took [\d.]+m?s|the process was not scheduled in time"
    assert [cause for cause in causes if not re.fullmatch(own, cause)] == []
