"""The bot's state as an operator sees it and brings it back: real bots in real processes, their journal on disk."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from ..matrix import cases
from .bots import bot, loop
from .live import WITHIN, Live, one_line

STATE = """
    ticks: int = 0
    pnl: float = 0.0
    positions: dict[str, float] = {}
    candles: Table[str, Candle] = msgspec.field(default_factory=Table)
    """
FIRST = """
    class Candle(msgspec.Struct, frozen=True):
        close: float
        n: int = 0
    """
TRADER = """
    derived = None
    broken = False

    def on_load(self, state):
        assert not self.broken, "on_load is broken"
        self.derived = sum(state.positions.values())

    def on_tick(self, tick):
        self.state.ticks += 1

    def on_command(self, name, args):
        match name:
            case "buy":
                with self.decision("buy", **args) as decision:
                    self.state.positions[args["market"]] = args["size"]
                return decision.id
            case "ruin":
                self.state.positions = {"nonsense": -1.0}
                self.state.pnl = float("nan")
                self.state.candles.clear()
            case "fill":
                for n in range(args["rows"]):
                    self.state.candles[f"k{n}"] = Candle(float(n), n)
            case "arm":
                self.set_timer("exit", after="1h")
            case "die in a decision":
                with self.decision("sell", **args):
                    os.kill(os.getpid(), 9)
            case "broken load":
                self.broken = True
        return {"pid": os.getpid(), "derived": self.derived, **msgspec.to_builtins(self.state)}
    """

SOURCE = bot(TRADER, state=STATE, first=FIRST)


def value(live: Live, path: str, at: str = "now") -> Any:
    done = live.run("state", "at", at, path, "--json")
    assert done.code == 0, done
    return done.json["value"]


def number(live: Live) -> int:
    """The newest frame in the journal."""
    return live.ask("state")["point"]["number"]


def test_back_to_before_a_bug_wrote_nonsense_and_forth_again(live: Live) -> None:
    """The operator's story: a bug wrote nonsense for an hour, and the bot goes on with what it believed before."""
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 2.0})
    live.ask("send", name="fill", args={"rows": 50})
    live.ask("send", name="arm")
    good = number(live)
    live.ask("send", name="ruin")
    assert value(live, "positions") == {"nonsense": -1.0}

    preview = live.run("state", "restore", f"frame:{good}", "--dry-run")
    assert "- positions.nonsense" in preview.out, preview
    assert "+ positions.BTC" in preview.out, preview
    assert "candles  0 -> 50 rows: 50 added" in preview.out, preview
    assert value(live, "positions") == {"nonsense": -1.0}, "a dry run has changed something"

    done = live.run("state", "restore", f"frame:{good}", "--yes", "--json", "-m", "nonsense since 09:00")
    assert done.code == 0, done
    book = live.book()
    assert (book["positions"], len(book["candles"])) == ({"BTC": 2.0}, 50)
    assert book["derived"] == 2.0, "on_load was not called with the restored state"
    assert book["pnl"] == 0.0
    live.ticks_on()

    undone = live.run("state", "restore", done.json["undo"], "--yes", "--json")
    assert undone.code == 0, undone
    assert live.book()["positions"] == {"nonsense": -1.0}
    again = live.run("state", "restore", undone.json["undo"], "--yes")
    assert again.code == 0, again
    assert live.book()["positions"] == {"BTC": 2.0}

    rows = live.ask("history", commands=True, limit=1000)["commands"]
    restores = [row for row in rows if row["op"] == "state-restore"]
    assert len(restores) == 3
    assert restores[-1]["why"] == "nonsense since 09:00"
    assert restores[-1]["facts"]["point"]["number"] == good
    live.audit()
    live.down()


def test_what_the_bot_believed_when_it_bought(live: Live) -> None:
    """The operator's story: a decision's id shows the state that it was taken in, also when the bot is down."""
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    id = live.ask("send", name="buy", args={"market": "ETH", "size": 2.0})["value"]
    live.ask("send", name="ruin")
    live.down()
    done = live.run("state", "at", id)
    assert done.code == 0, done
    assert '{"BTC": 1.0}' in done.out
    assert value(live, "positions.BTC", id) == 1.0
    nothing = live.run("state", "at", "9-9-9")
    assert nothing.code == 2, nothing
    assert "no decision 9-9-9" in nothing.err, nothing


def test_a_restore_over_decisions_in_doubt_is_refused_and_names_them(live: Live) -> None:
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    good = number(live)
    live.send("send", name="die in a decision", args={"market": "BTC"})
    live.event(lambda event: event["outage"]["until"], type="outage")
    live.ticks_on()

    refused = live.run("state", "restore", f"frame:{good}", "--yes")
    assert refused.code == 2, refused
    text = one_line(refused)
    for words in ("1 decision since then is in doubt: ", "(sell)", "--in-doubt"):
        assert words in text, text
    answer = live.answer(live.send("state-restore", at=f"frame:{good}", confirm="fox"))
    assert len(answer["error"]["facts"]["in_doubt"]) == 1

    done = live.run("state", "restore", f"frame:{good}", "--yes", "--in-doubt")
    assert done.code == 0, done
    assert "in doubt" in done.out, "the preview does not say which decisions are in doubt"
    live.down()


@pytest.mark.deep
def test_a_set_and_an_import_over_decisions_in_doubt_are_refused_and_name_them(
    live: Live, tmp_path: Path
) -> None:
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    file = tmp_path / "state.json"
    assert live.run("state", "export", "-o", file).code == 0
    live.send("send", name="die in a decision", args={"market": "BTC"})
    live.event(lambda event: event["outage"]["until"], type="outage")
    live.ticks_on()
    [doubt] = live.status()["outages"][0]["in_doubt"]
    set_pnl, import_it = ("state", "set", "pnl", "7", "--yes"), ("state", "import", file, "--yes")

    for change in (set_pnl, import_it):
        refused = live.run(*change)
        assert refused.code == 2, refused
        text = one_line(refused)
        assert f"1 decision is in doubt: {doubt['id']} (sell)" in text, text
        assert "--in-doubt" in text, text
    answer = live.answer(live.send("state-set", path="pnl", value=7, confirm="fox"))
    assert answer["error"]["facts"]["in_doubt"] == [doubt["id"]]
    assert live.book()["pnl"] == 0.0

    assert live.run(*set_pnl, "--in-doubt").code == 0
    assert live.run(*import_it, "--in-doubt").code == 0
    assert live.book()["pnl"] == 0.0

    live.ask("acknowledge")
    assert live.run(*set_pnl).code == 0, "the operator has acknowledged the outage"
    assert live.run(*import_it).code == 2, "the decision was taken since the export"
    later = tmp_path / "later.json"
    later.write_text('{"neverblink": "state", "format": 1, "state": {"pnl": 8}}')
    assert live.run("state", "import", later, "--yes").code == 0
    assert live.book()["pnl"] == 8.0
    live.down()


def test_a_value_is_set_by_its_path_and_typed_by_the_bot(live: Live) -> None:
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    live.ask("send", name="fill", args={"rows": 3})
    for path, text, is_now in (
        ("positions.BTC", "-0.5", -0.5),
        ('positions["a.b"]', "3", 3.0),
        ("candles.k1.close", "7.25", 7.25),
        ("pnl", '{"$float": "inf"}', {"$float": "inf"}),
    ):
        done = live.run("state", "set", path, text, "--yes", "--json")
        assert done.code == 0, done
        assert live.ask("state", path=path)["value"] == is_now, path
    assert live.book()["derived"] == 2.5
    refusals: list[tuple[str, Any, str]] = [
        ("positions.BTC", "much", "expected a number"),
        ("position.BTC", 1, "did you mean positions?"),
        ("candles.k9.close", 1, "there is no k9 in candles"),
        ("candles.k1.cloze", 1, "did you mean candles.k1.close?"),
        ("candles", {}, "is a table"),
        ("ticks", None, "expected a whole number"),
    ]
    for path, wrong, words in refusals:
        error = live.answer(live.send("state-set", path=path, value=wrong, confirm="fox"))["error"]
        assert error["code"] == "bad-input", error
        assert words in error["message"], error
    refused = live.run("state", "set", "positions.BTC", "much", "--yes")
    assert refused.code == 2, refused
    assert "expected a number" in one_line(refused)
    live.ticks_on()
    assert live.run("state", "set", "pnl", "1", "--json").code == 2, "it was not confirmed"
    other = live.answer(live.send("state-set", path="pnl", value=1, confirm="wolf"))
    assert other["error"]["code"] == "bad-input"
    assert 'expected "fox"' in other["error"]["message"]
    live.down()


def test_an_export_comes_back_by_an_import(live: Live, tmp_path: Path) -> None:
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.5})
    live.ask("send", name="fill", args={"rows": 20})
    file = tmp_path / "state.json"
    exported = live.run("state", "export", "-o", file)
    assert exported.code == 0, exported
    live.ask("send", name="ruin")
    imported = live.run("state", "import", file, "--yes", "--json")
    assert imported.code == 0, imported
    book = live.book()
    assert (book["positions"], len(book["candles"])) == ({"BTC": 1.5}, 20)

    part = json.loads(file.read_text())
    part["state"] = {"positions": {"ETH": 4.0}}
    file.write_text(json.dumps(part))
    assert live.run("state", "import", file, "--yes").code == 0
    book = live.book()
    assert (book["positions"], len(book["candles"])) == ({"ETH": 4.0}, 20), "fields left out did not stay"

    part["state"] = {"positions": {"ETH": "four"}}
    file.write_text(json.dumps(part))
    refused = live.run("state", "import", file, "--yes")
    assert refused.code == 2, refused
    assert "positions" in refused.err, refused
    assert "expected" in refused.err, refused
    part["state"] = {"posisions": {}}
    file.write_text(json.dumps(part))
    refused = live.run("state", "import", file, "--yes")
    assert refused.code == 2, refused
    assert "did you mean positions?" in refused.err, refused
    file.write_text("{")
    assert live.run("state", "import", file, "--yes").code == 2
    assert live.book()["positions"] == {"ETH": 4.0}
    live.ticks_on()
    live.down()


@pytest.mark.deep
def test_a_bot_whose_on_load_raises_keeps_the_state_that_it_had(live: Live) -> None:
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    good = number(live)
    live.ask("send", name="fill", args={"rows": 30})
    live.ask("send", name="ruin")
    live.ask("send", name="fill", args={"rows": 10})
    live.ask("send", name="broken load")
    refused = live.run("state", "restore", f"frame:{good}", "--yes")
    assert refused.code == 1, refused
    assert "on_load is broken" in refused.err, refused
    book = live.book()
    assert (book["positions"], len(book["candles"])) == ({"nonsense": -1.0}, 10)
    live.ticks_on()
    live.down()


def test_the_release_in_probation_and_the_one_before_it_follow_a_restore(live: Live) -> None:
    one = live.code("one", SOURCE, probation="60s")
    two = live.code("two", SOURCE + "# two\n", probation="60s")
    live.up(one)
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    good = number(live)
    live.ask("send", name="ruin")
    deployment = live.begin(two)
    live.phase(deployment, "probation")
    assert live.run("state", "restore", f"frame:{good}", "--yes").code == 0
    assert live.book()["positions"] == {"BTC": 1.0}
    live.ask("rollback", wait=True)
    assert live.book()["positions"] == {"BTC": 1.0}, "the old release has not followed the restore"
    live.audit()
    live.down()


WIDER = bot(
    TRADER,
    state=STATE.rstrip() + '\n    venue: str = "mars"\n',
    first=FIRST,
)


@pytest.mark.deep
def test_a_state_of_another_type_is_compared_and_restored_through_the_new_code(live: Live) -> None:
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    good = number(live)
    live.deploy(live.code("two", WIDER))
    live.ask("send", name="ruin")
    until = time.monotonic() + WITHIN
    while (shown := live.run("state", "diff", f"frame:{good}", "now")).code:
        # The new type is in the journal a moment after the handoff.
        assert time.monotonic() < until, shown
    assert 'added  venue: str, "mars"' in shown.out, shown
    assert live.run("state", "set", "venue", "venus", "--yes").code == 0
    done = live.run("state", "restore", f"frame:{good}", "--yes")
    assert done.code == 0, done
    book = live.book()
    assert (book["positions"], book["venue"]) == ({"BTC": 1.0}, "mars")
    live.down()


NARROWER = bot(
    TRADER, state=STATE.replace("dict[str, float]", "list[float]").replace("{}", "[]"), first=FIRST
)


@pytest.mark.deep
def test_a_state_that_the_running_code_cannot_read_is_refused_with_the_field(live: Live) -> None:
    live.up(live.code("one", SOURCE))
    live.ticks_on()
    good = number(live)
    migrated = NARROWER.replace(
        "class Bot(Worker[Book]):", "class Bot(Worker[Book]):\n    schema = 2\n"
    ).replace("sum(state.positions.values())", "sum(state.positions)")
    migrated += dedent("""
        @migration(1, 2)
        def listed(root):
            return root | {"positions": list(root["positions"].values())}
        """)
    live.deploy(live.code("two", migrated))
    live.ticks_on()
    assert live.run("state", "restore", f"frame:{good}", "--yes").code == 0, (
        "it does not go through the migration"
    )
    assert live.book()["positions"] == []
    broken = live.code("three", migrated.replace("@migration(1, 2)\n", ""))
    live.deploy(broken)
    refused = live.run("state", "restore", f"frame:{good}", "--yes")
    assert refused.code == 2, refused
    assert "@migration(1, 2)" in refused.err, refused
    live.ticks_on()
    live.down()


@pytest.mark.parametrize("how", cases(["cli", "socket"], "cli"))
def test_a_large_table_pages(live: Live, how: str) -> None:
    live.up(live.code("one", SOURCE))
    live.ask("send", name="fill", args={"rows": 2500})
    if how == "cli":
        page = live.run("state", "show", "candles", "--offset", "2400", "--limit", "50", "--json").json
        text = live.run("state", "show", "candles", "--limit", "10").out
        assert "1 to 10 of 2,500, go on with --offset 10" in text, text
    else:
        page = live.ask("state", path="candles", offset=2400, limit=50)
    assert (len(page["items"]), page["total"], page["items"][0][0]) == (50, 2500, "k2400")
    assert page["items"][0][1] == {"close": 2400.0, "n": 2400}
    live.down()


@pytest.mark.deep
def test_a_bot_that_was_killed_shows_the_state_it_will_go_on_with(live: Live) -> None:
    up = live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    pid = live.book()["pid"]
    up.kill()
    os.kill(pid, signal.SIGKILL)
    assert value(live, "positions") == {"BTC": 1.0}
    refused = live.run("state", "set", "pnl", "1", "--yes")
    assert refused.code == 7, refused


def test_a_backup_of_a_running_bot_is_a_new_life_elsewhere(live: Live, tmp_path: Path) -> None:
    code = live.code("one", SOURCE)
    live.up(code)
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    live.ask("send", name="fill", args={"rows": 300})
    backup = tmp_path / "mnt" / "backup"
    made = live.run("backup", backup, "--json")
    assert made.code == 0, made
    live.ask("send", name="ruin")
    again = live.run("backup", backup)
    assert again.code == 2, again
    assert "not empty" in again.err
    live.down()

    (tmp_path / "elsewhere").mkdir()
    other = Live(tmp_path / "elsewhere", home=backup)
    try:
        up = other.up(code)
        book = other.book()
        assert (book["positions"], len(book["candles"])) == ({"BTC": 1.0}, 300)
        other.ticks_on()
        identity = json.loads((backup / "identity").read_text())
        assert identity["copy_of"] == json.loads((live.home / "identity").read_text())["id"]
        assert other.status()["release"], up
        other.audit()
        other.down()
    finally:
        other.close()


@pytest.mark.deep
def test_a_restore_during_a_deployment_is_in_the_new_release_too(live: Live) -> None:
    """It comes while the new worker prepares: that one follows it like any other frame."""
    sleeps = "    def on_start(self):\n        time.sleep(0.5)\n\n    def on_load(self, state):\n"
    slow = SOURCE.replace("    def on_load(self, state):\n", sleeps)
    live.up(live.code("one", SOURCE))
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    good = number(live)
    live.ask("send", name="ruin")
    deployment = live.begin(live.code("two", slow))
    live.event(type="worker-started", worker="w2")
    restored = live.ask("state-restore", at=f"frame:{good}", confirm="fox")
    assert restored["undo"].startswith("frame:")
    assert live.ended(deployment)["outcome"] == "done"
    assert live.book()["positions"] == {"BTC": 1.0}
    live.audit()
    live.down()


@pytest.mark.deep
def test_a_standby_that_takes_over_has_the_restored_state(live: Live) -> None:
    live.up(live.code("one", SOURCE, standby=1))
    live.event(type="standby", state="ready")
    live.ask("send", name="buy", args={"market": "BTC", "size": 1.0})
    good = number(live)
    live.ask("send", name="ruin")
    live.ask("state-restore", at=f"frame:{good}", confirm="fox")
    os.kill(live.book()["pid"], signal.SIGKILL)
    live.event(lambda event: event["outage"]["until"], type="outage")
    assert live.book()["positions"] == {"BTC": 1.0}
    live.down()


LOOP = loop(
    """
    def main():
        for tick in join(Book, tick="10ms"):
            tick.state.ticks += 1
            for command in tick.commands:
                tick.answer(command, {"ticks": tick.state.ticks})
    """
)


@pytest.mark.deep
def test_a_bot_that_is_a_loop_is_restored_at_its_next_tick(live: Live) -> None:
    live.up(live.code("one", LOOP, target="main"))
    live.ask("state-set", path="ticks", value=5_000_000, confirm="fox")
    assert value(live, "ticks") >= 5_000_000
    before = live.ask("state-set", path="ticks", value=7, confirm="fox")["undo"]
    assert value(live, "ticks") < 5_000_000
    live.ask("state-restore", at=before, confirm="fox")
    assert value(live, "ticks") >= 5_000_000
    live.down()
