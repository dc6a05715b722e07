"""What a new release would drop of the state: reported, and refused before the handoff unless it is meant."""

from __future__ import annotations

from typing import Any

import pytest

from .live import Live
from .pushing import HANDED, Pushing

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
        return {"ticks": self.state.ticks, "state": msgspec.to_builtins(self.state.positions)}

    def on_tick(self, tick):
        self.state.ticks += 1
        self.state.realised = 12.5
        self.state.positions["BTC"] = Position(0.5, 61000.0)
        if len(self.state.fills) < 3:
            self.state.fills[f"f{self.state.ticks}"] = Fill(61000.0, 0.25)
"""
RENAMED = BEFORE.replace("realised", "pnl")
MIGRATED = (
    RENAMED.replace('    tick = "20ms"', '    tick = "20ms"\n    schema = 2').replace(
        "import Table, Worker", "import Table, Worker, migration"
    )
    + """
@migration(1, 2)
def realised_became_pnl(root):
    root["pnl"] = root.pop("realised")
    return root
"""
)
WITHOUT_SIZE = (
    BEFORE.replace("size: float", "qty: float = 0.0")
    .replace("    fee: float = 0.0\n", "")
    .replace("Fill(61000.0, 0.25)", "Fill(61000.0)")
)


def ready(live: Live, source: str = BEFORE) -> dict[str, Any]:
    """The status of a bot whose state holds values."""
    live.up(live.code("v0", source))
    live.ticks_on()
    return live.status()


def test_a_renamed_field_is_refused_before_the_handoff_and_dropped_only_by_name(live: Live) -> None:
    old = ready(live)
    refused = live.run("deploy", live.code("v1", RENAMED))
    assert refused.code == 9, refused
    for part in ("realised = 12.5", "adds pnl = 0.0", "--drop realised", "-o drop=realised", "migration"):
        assert part in refused.out, refused
    assert live.status()["worker"] == old["worker"]
    checked = live.run("check", live.tmp / "v1")
    assert checked.code == 1, checked
    assert "drops realised = 12.5" in checked.out

    dropped = live.run("deploy", live.tmp / "v1", "--drop", "realised", "--json")
    assert dropped.code == 0, dropped
    assert [one["field"] for one in dropped.json["state"]["dropped"]] == ["realised"]
    assert dropped.json["state"]["rows"] == {"fills": 3}
    assert "drops realised = 12.5" in live.run("history", "3").out

    # The way back is refused too, and names what brings the old value back.
    back = live.run("rollback")
    assert back.code == 9, back
    assert "pnl = 12.5" in back.out
    assert f"state show realised --at {old['release']}" in back.out
    assert live.run("rollback", "--drop", "pnl").code == 0
    shown = live.run("state", "show", "realised", "--at", old["release"])
    assert "12.5" in shown.out, shown
    live.down()
    live.audit()


@pytest.mark.deep
def test_fields_of_structs_in_dicts_and_of_rows_are_refused_and_dropped_by_their_paths(live: Live) -> None:
    ready(live)
    code = live.code("v1", WITHOUT_SIZE)
    refused = live.run("deploy", code, "--drop", "positions.size")
    assert refused.code == 9, refused
    assert "fills.f1.fee = 0.25 and 2 more" in refused.out, refused
    dropped = live.run("deploy", code, "--drop", "positions.size", "--drop", "fills", "--json")
    assert dropped.code == 0, dropped
    assert {one["field"] for one in dropped.json["state"]["dropped"]} == {"positions.size", "fills.fee"}
    live.down()


@pytest.mark.deep
def test_a_migration_that_renames_the_field_keeps_its_value_and_needs_no_drop(live: Live) -> None:
    ready(live)
    done = live.run("deploy", live.code("v1", MIGRATED))
    assert done.code == 0, done
    assert "12.5" in live.run("state", "show", "pnl").out
    live.down()


def test_up_on_a_stopped_bot_refuses_too_and_check_compares_with_its_journal(live: Live) -> None:
    ready(live)
    live.down()
    code = live.code("v1", RENAMED)
    checked = live.run("check", code, "--home", live.home)
    assert checked.code == 1, checked
    assert "realised = 12.5" in checked.out
    refused = live.run("up", "--project", code, "--from", code)
    assert refused.code == 9, refused
    assert "realised = 12.5" in refused.out + refused.err
    live.up(code, "--from", str(code), "--drop", "realised")
    live.ticks_on()
    live.down()
    live.audit()


@pytest.mark.deep
def test_a_value_that_appears_after_the_rehearsal_stops_the_handoff(live: Live) -> None:
    """The field holds its default when it is copied; a window keeps the handoff waiting until it does not."""
    late = BEFORE.replace(
        "        self.state.realised = 12.5\n",
        "        if self.state.note:\n            self.state.realised = 12.5\n",
    ).replace(
        "def on_command(self, name, args):",
        "def on_command(self, name, args):\n"
        "        self.state.note = 'x' if name == 'go' else self.state.note",
    )
    live.up(live.code("v0", late.replace('tick = "20ms"', 'tick = "1s"')))
    live.ticks_on()
    slow = RENAMED.replace(
        "def on_tick",
        "def on_load(self, state):\n        import time\n        time.sleep(1.5)\n\n    def on_tick",
    )
    deploying = live.start("deploy", live.code("v1", slow), "--json")
    live.phase(1, "rehearsing")
    live.ask("send", name="go")
    refused = deploying.ends()
    assert refused.code == 9, refused
    assert "realised = 12.5" in refused.json["reason"]
    live.ticks_on()
    live.down()


def test_a_push_shows_what_would_be_dropped_and_takes_the_field_as_an_option(live: Live) -> None:
    ready(live)
    pushing = Pushing(live, "--gate")
    pushing.commit(live.code("v1", RENAMED), "Rename")
    refused = pushing.push()
    assert refused.code != 0, refused
    assert "drops realised = 12.5" in refused.err
    assert "-o drop=realised" in refused.err
    pushed = pushing.push("-o", "drop=realised", "live", "main")
    assert HANDED.search(pushed.err), pushed.err
    live.down()


@pytest.mark.deep
def test_a_rollback_in_the_probation_keeps_the_old_field_and_the_rehearsal_says_what_it_lacks(
    live: Live,
) -> None:
    ready(live)
    deploy = live.start("deploy", live.code("v1", RENAMED, probation="30s"), "--drop", "realised")
    live.phase(1, "probation")
    assert live.run("rollback").code == 0
    assert "but without pnl and with realised as of the handoff" in deploy.ends().out
    assert "12.5" in live.run("state", "show", "realised").out
    live.down()
