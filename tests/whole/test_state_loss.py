"""What a new release would drop of the state: reported, and refused before the handoff unless it is meant."""

from __future__ import annotations

from .live import Live

BEFORE = """
import msgspec
from neverblink.worker import Table, Worker

class Position(msgspec.Struct):
    size: float
    entry: float = 0.0

class Fill(msgspec.Struct, frozen=True):
    price: float
    fee: float = 0.0

class Book(msgspec.Struct):
    ticks: int = 0
    realised: float = 0.0
    note: str = ""
    positions: dict[str, Position] = {}
    fills: Table[str, Fill] = msgspec.field(default_factory=Table)

class Bot(Worker[Book]):
    tick = "20ms"

    def on_command(self, name, args):
        return {"ticks": self.state.ticks}

    def on_tick(self, tick):
        self.state.ticks += 1
        self.state.realised = 12.5
        self.state.positions["BTC"] = Position(0.5, 61000.0)
        if len(self.state.fills) < 3:
            self.state.fills[f"f{self.state.ticks}"] = Fill(61000.0, 0.25)
"""
RENAMED = BEFORE.replace("realised", "pnl")
UNTOUCHED = RENAMED.replace("        self.state.pnl = 12.5\n", "")


def test_a_renamed_field_is_refused_before_the_handoff_with_its_value_and_the_mend(live: Live) -> None:
    live.up(live.code("v0", BEFORE))
    live.ticks_on()
    old = live.status()
    refused = live.run("deploy", live.code("v1", RENAMED))
    assert refused.code == 9, refused
    said = refused.out + refused.err
    for part in ("realised = 12.5", "adds pnl = 0.0", "--drop realised", "-o drop=realised", "migration"):
        assert part in said, said
    now = live.status()
    assert (now["release"], now["worker"]) == (old["release"], old["worker"])
    checked = live.run("check", live.tmp / "v1")
    assert checked.code == 1, checked
    assert "realised = 12.5" in checked.out

    dropped = live.run("deploy", live.code("v2", UNTOUCHED), "--drop", "realised", "--json")
    assert dropped.code == 0, dropped
    assert [one["field"] for one in dropped.json["state"]["dropped"]] == ["realised"]
    assert dropped.json["state"]["rows"] == {"fills": 3}

    # Back again: now the rename is the other way round, and what was dropped is named with how to get it back.
    back = live.run("rollback")
    assert back.code == 0, back
    assert f"state show realised --at {old['release']}" in back.out
    live.down()
