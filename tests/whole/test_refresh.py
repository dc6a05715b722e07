"""What a bot derives from the state is renewed before it leads, in real processes, and outside the blackout."""

from __future__ import annotations

from .live import Live

_BOT = """
import time
import msgspec
from neverblink.worker import Worker

class Book(msgspec.Struct):
    ticks: int = 0

class Bot(Worker[Book]):
    tick = "500ms"

    def on_load(self, state):
        time.sleep(0.15)
        self.derived = state.ticks

    def on_tick(self, tick):
        assert self.derived == self.state.ticks, f"derived {self.derived} of {self.state.ticks}"
        self.state.ticks += 1
        self.derived += 1

    def on_command(self, name, args):
        return msgspec.to_builtins(self.state)
"""


def test_a_slow_on_load_is_repeated_while_the_old_code_ticks_and_not_in_the_blackout(live: Live) -> None:
    live.up(live.code("v0", _BOT))
    for version in (1, 2):
        done = live.deploy(live.code(f"v{version}", f"{_BOT}# {version}\n", probation="1s"))
        assert (done["outcome"], done["missed"]) == ("done", 0), done
        assert done["blackout"] < 140_000_000, done
    begun = live.begin(live.code("v3", f"{_BOT}# 3\n", probation="30s"))
    live.phase(begun, "probation")
    live.ticks_on()
    assert live.run("rollback").code == 0
    assert live.ended(begun)["outcome"] == "rolled_back"
    live.ticks_on()
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert len(report["handoffs"]) == 4
    assert all(transfer["blackout_us"] < 140_000 for transfer in report["handoffs"]), report
